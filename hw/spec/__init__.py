"""The architecture as data: every layout, register, reason and address, declared once.

Nothing here has a Module or a Signal, and nothing here imports the rest of the project, so that gateware,
driver and golden model can share it without sharing each other's bugs.

    tables         root, context and second-stage entries
    registers      the VT-d register file, field by field
    capabilities   CAP, ECAP and the straps from which they follow
    invalidation   what an invalidation names
    faults         fault reasons and the fault record
    dma            a DMA request and its reply
    memory         the table- and data-memory port
    axi            AXI4 encodings and user signals
    events         what the event log records
    bench          the host's address map: unit, update window, traffic engine
    host_link      the frames between a driver and a machine in another process
    codec          checked encoding of every layout

Level numbers (1-based, everywhere in the project):

    level 1   SS-PTE      4 KiB leaves      IOVA 20:12
    level 2   SS-PDE      2 MiB leaves      IOVA 29:21
    level 3   SS-PDPE     1 GiB leaves      IOVA 38:30
    level 4   SS-PML4E    tables only       IOVA 47:39
    level 5   SS-PML5E    tables only       IOVA 56:48

The top level of a context entry is its address_width field + 2 (39-bit: AW=1, level 3).

Source: VT-d specification rev 4.1, chapters 3, 9, 11.
"""
