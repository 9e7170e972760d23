"""Static pages: HTML that is escaped unless it was made here, charts as inline SVG, one style sheet."""
