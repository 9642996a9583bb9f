"""What survives the end of a kernel: named records in memory, and the pages that belong to them.

::

    STORE_BASE             header page: one 64-bit commit record says which slot counts, or that none does
    + 4 KiB                slot 0 --+  body: header, records (name, page ranges, data, CRC-32 each), seal
    + 4 KiB + SLOT_BYTES   slot 1 --+  HMAC-SHA256 over everything before it

A store is written into the slot that does not count, and begins to count with one 8-byte store. Whoever reads it checks
all of it before anything else is touched: `verify`.

    store      the interface, and the store in memory
    records    what the records of a unit, a domain and a device hold
    seal       the key and what it is good for
"""
