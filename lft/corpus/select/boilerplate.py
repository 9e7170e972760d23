"""Pages that are mostly frame: navigation, cookie banners, licence notices."""

from __future__ import annotations

import re
from typing import Final

from lft.corpus.select.words import words

MOSTLY: Final = 0.5  # share of a text's letters that stand in lines of frame
_ENTRY_LETTERS: Final = 30  # an entry of a menu has hardly more, on average
_MARKS: Final = "|»›•·"
_DIVIDERS: Final = re.compile(rf"\s*[{_MARKS}]\s*")

# What only stands in banners and notices: a line that says it is frame, however long it is.
_NOTICES: Final = (
    # en
    "we use cookies", "uses cookies", "use of cookies", "cookie policy", "cookie settings", "accept all cookies",
    "privacy policy", "terms of service", "terms of use", "terms and conditions", "all rights reserved",
    "permission is hereby granted", "the software is provided \"as is\"", "without warranty of any kind",
    "without even the implied warranty", "redistribute it and/or modify it", "general public license",
    "licensed under the", "creative commons attribution", "this work is licensed", "you should have received a copy",
    "redistributions of source code must", "free software foundation",
    # de
    "verwendet cookies", "verwenden cookies", "nutzt cookies", "nutzen cookies", "einsatz von cookies",
    "cookie-einstellungen", "alle cookies akzeptieren", "datenschutzerklärung", "allgemeine geschäftsbedingungen",
    "nutzungsbedingungen", "alle rechte vorbehalten", "namensnennung", "unter der lizenz", "ohne jede gewährleistung",
    # es
    "utiliza cookies", "utilizamos cookies", "uso de cookies", "política de cookies", "política de privacidad",
    "aviso legal", "términos y condiciones", "condiciones de uso", "todos los derechos reservados",
    "creative commons reconocimiento", "bajo la licencia", "sin ninguna garantía",
    # fr
    "utilise des cookies", "utilisons des cookies", "utilisation de cookies", "politique de cookies",
    "politique de confidentialité", "mentions légales", "conditions d'utilisation", "conditions générales",
    "tous droits réservés", "creative commons paternité", "sous licence", "sans aucune garantie",
    # ru
    "использует cookie", "используем cookie", "использует файлы cookie", "используем файлы cookie",
    "политика конфиденциальности", "политику конфиденциальности", "пользовательское соглашение",
    "условия использования", "все права защищены", "на условиях лицензии", "без каких-либо гарантий",
    # it, pt, nl, pl
    "utilizza i cookie", "informativa sulla privacy", "tutti i diritti riservati", "política de privacidade",
    "todos os direitos reservados", "privacybeleid", "alle rechten voorbehouden", "polityka prywatności",
    "wszelkie prawa zastrzeżone", "używa plików cookie",
)  # fmt: skip
# What menus are made of: a short line that is one of these, or a row of short entries with one of these among them.
_ENTRIES: Final = frozenset(
    (
        "home", "homepage", "main page", "contact", "contact us", "about", "about us", "log in", "login", "sign in",
        "sign up", "register", "log out", "logout", "search", "menu", "sitemap", "site map", "help", "faq", "news",
        "blog", "next", "previous", "prev", "back", "back to top", "skip to content", "skip to main content",
        "read more", "share", "share this", "tweet", "print", "print this page", "subscribe", "newsletter", "rss",
        "facebook", "twitter", "instagram", "youtube", "linkedin", "cart", "my account", "categories", "archives",
        "leave a comment", "leave a reply", "reply", "related posts", "toggle navigation", "download", "products",
        "services", "table of contents", "up", "accept", "decline", "comments", "privacy", "terms", "copyright",
        "startseite", "impressum", "kontakt", "über uns", "anmelden", "abmelden", "registrieren", "suche", "suchen",
        "menü", "hilfe", "datenschutz", "agb", "weiter", "zurück", "nach oben", "zum inhalt springen", "mehr lesen",
        "weiterlesen", "teilen", "drucken", "warenkorb", "mein konto", "produkte", "aktuelles", "kommentare",
        "inicio", "contacto", "quiénes somos", "sobre nosotros", "iniciar sesión", "registrarse", "buscar", "menú",
        "ayuda", "siguiente", "anterior", "volver", "leer más", "compartir", "imprimir", "carrito", "mi cuenta",
        "productos", "servicios", "noticias", "comentarios", "ir al contenido", "mapa del sitio",
        "accueil", "à propos", "nous contacter", "connexion", "se connecter", "s'inscrire", "inscription",
        "rechercher", "recherche", "aide", "suivant", "précédent", "retour", "lire la suite", "partager", "imprimer",
        "panier", "mon compte", "produits", "actualités", "commentaires", "aller au contenu", "plan du site",
        "главная", "контакты", "о нас", "о компании", "войти", "вход", "выйти", "регистрация", "поиск", "меню",
        "помощь", "новости", "далее", "назад", "вперёд", "вперед", "наверх", "читать далее", "поделиться", "корзина",
        "личный кабинет", "карта сайта", "услуги", "продукция", "комментарии", "перейти к содержанию",
    )
)  # fmt: skip


# Notices by their longest word: a text is searched for those whose word it has.
_BY_WORD: Final = {
    longest: tuple(notice for notice in _NOTICES if max(words(notice), key=len) == longest)
    for longest in {max(words(notice), key=len) for notice in _NOTICES}
}
_LONGEST: Final = frozenset(_BY_WORD)


def is_boilerplate(text: str) -> bool:
    """Whether at least half of a text's letters stand in lines of navigation, cookie banners or licence notices."""
    plain = text.casefold().replace("’", "'")
    notices = [one for word in _LONGEST.intersection(words(text)) for one in _BY_WORD[word] if one in plain]
    divided = any(mark in plain for mark in _MARKS) and not ("«" in plain and "|" not in plain)  # » of a quotation
    lines = [line.strip(" \t:") for line in plain.splitlines()]
    if not notices and not divided and _ENTRIES.isdisjoint(lines):
        return False
    frame = 0
    for line in lines:
        if line in _ENTRIES or (divided and _is_menu(line)) or any(one in line for one in notices):
            frame += len(line)
    return frame > 0 and frame >= MOSTLY * sum(map(len, lines))


def _is_menu(line: str) -> bool:
    """Three or more short entries side by side, a quarter of them known ones."""
    entries = _DIVIDERS.split(line)
    if len(entries) < 3 or len(line) > len(entries) * _ENTRY_LETTERS:
        return False
    return sum(entry in _ENTRIES for entry in entries) * 4 >= len(entries)
