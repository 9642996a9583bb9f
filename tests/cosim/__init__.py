"""The whole unit in the simulator: every fault reason, real tables, bad input, experiments.

    tables         one device's tables by hand, and the cases made of them
    fault_cases    every case by its sentence, with what must come of it, worked by hand from VT-d
    fault_pairs    every two causes of a fault in one request
    answers        what is compared: replies, records and reads
    random_tables  tables that mean nothing, by seed
    faults_bench   what runs in the simulator: all cases in one start, one JSON result
    lab_bench      likewise, the experiments
    test_*         what must be found there
"""
