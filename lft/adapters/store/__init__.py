"""The registry's store: content-addressed blobs, immutable versions, aliases that move, an index that is no truth.

    with leased(store) as lease: put blobs, publish        add.add_adapter does all of it for an adapter's folder
    resolve(store, "ns/name@alias")  ──▶ Stored            lookup
    materialise(store, digest)       ──▶ folder            checkout: for `lft generate --adapter` and plain peft
    make_lock · verify               ──▶ lft.lock          lockfile
    collect · check · listed         ──▶ gc, fsck, list    gc, fsck, index

Nothing here imports torch. Import what is needed from the modules: `lft adapters list` must not pay for the rest.
"""
