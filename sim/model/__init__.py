"""The golden model and the judge: what the unit must answer, and what nobody may ever see it do.

    fields         integer access to the layouts of hw.spec
    memory         sparse memory with refused addresses
    entries        what each table entry means, and the checks that it must pass
    translate      one request through tables, as the specification's numbered steps
    translations   a table as (IOVA, HPA, length, permission) intervals
    register_file  the register window and the fault records
    device         registers, invalidations and memory around `translate`: a unit with no gateware
    scoreboard     replies compared with what the model answers

    logged_event   an event as integers, from the rows of an event log
    history        memory that remembers, for walks that read each entry at an instant of their own
    caches         what an invalidation covers, and a replica of the IOTLB's lines
    associations   which table stands behind which domain ID
    world          what the judge knows: all of the above, and the time
    laws_of_dma    L1, L2, L6, L9
    laws_of_tables L3, L4, L5, L7
    judge          the event stream in, a verdict by law out

The model promises results, not cycles. It imports `hw.spec` and nothing else of ours: neither the driver nor the
gateware, so that none of the three can share another's bugs.
"""
