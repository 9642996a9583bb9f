"""Formal checks: what must hold for every input, up to a depth, by a solver instead of by examples.

    spec component (the block, free inputs, assertions) --> harness --> RTLIL --> sby, yosys, z3 --> holds | Refuted

    harness    runs one check in its own folder; a refutation names the assertion by file and line
    contract   the rules of a stream, written once for both of its sides
    test_*     one block each; each has a control, a broken block that the same check must refute
"""
