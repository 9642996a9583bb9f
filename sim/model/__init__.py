"""The golden model and the judge: what the unit must answer, and what nobody may ever see it do.

    fields        integer access to the layouts of hw.spec
    memory        sparse memory with refused addresses
    translate     one request through tables, as the specification's numbered steps
    translations  a table as (IOVA, HPA, size, permission) intervals
    device        registers, faults and invalidations around `translate`: a unit with no gateware
    scoreboard    replies compared with what the model answers
    history       memory that remembers, for walks that read each entry at an instant of their own
    caches        what an invalidation covers, and a replica of the IOTLB's lines
    world         what the judge knows: memory, roots, tags, invalidations, the clock
    laws          L1 to L9, one class each where they stand alone
    judge         the event stream in, a verdict by law out

The model promises results, not cycles. It imports `hw.spec` and nothing else of ours: neither the driver nor the
gateware, so that none of the three can share another's bugs.
"""
