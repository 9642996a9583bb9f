"""The golden model and the judge: what the unit must answer, and what nobody may ever see it do.

    fields         integer access to the layouts of hw.spec
    memory         sparse memory with refused addresses
    entries        what each table entry means, and the checks that it must pass
    translate      one request through tables, as the specification's numbered steps
    translations   a table as (IOVA, HPA, length, permission) intervals
    register_file  the register window, the fault records, and the events that become messages
    register_rules what software may not do with it
    commands       what CCMD and IOTLB ask for
    queue          which descriptors are legal, and what becomes of them
    stale_caches   caches that keep everything until an invalidation covers it
    update_window  the update port as registers
    device         registers, queue, invalidations and memory around `translate`: a unit with no gateware
    scoreboard     replies compared with what the model answers, on tables that stand still

    quanta         memory by the quantum, with every version of it
    invalidated    since when caches can hold what they hold
    permitted      the answers that a request may get: a set, since caches may be stale
    permitted_walks  the second-stage walks that could have been
    follower       the scoreboard: follows a whole event log, and says what is not permitted in it
    followed_dma, followed_registers, followed_queue
                   its parts: answers and faults; every access to the window; descriptors
    fetched, owed_messages, pending
                   and what is open in them: descriptors, event messages, commands

    logged_event   an event as integers, from the rows of an event log
    history        memory that remembers, for walks that read each entry at an instant of their own
    caches         what an invalidation covers, and a replica of the IOTLB's lines
    associations   which table stands behind which domain ID
    world          what the judge knows: all of the above, and the time
    laws_of_dma    L1, L2, L6, L9
    laws_of_tables L3, L4, L5, L7
    law_of_order   L8
    laws           all of them: what each event means to each
    judge          the event stream in, a verdict by law out

The model promises results, not cycles. It imports `hw.spec` and nothing else of ours: neither the driver nor the
gateware, so that none of the three can share another's bugs.
"""
