"""The stories: experiments with a machine, a driver and a judge, told from beginning to end.

    experiment   what an experiment declares: devices, pages, tags, what must survive
    lab          a machine with traffic, in one simulator process, for experiments in a few lines
    machine      the same as a device that kernels in other processes connect to
    evidence     what the event log proves about each store into a live entry
    demo         `make demo`: two kernels, one handover, an atomic swap; and break-before-make as the control
    replay       `make replay`: every probe of a capture, put to the gateware
    vectors      the same of a vector file: images of tables, many malformed, with the answers of another implementation
    vector_file, deviations
                 what such a file holds; what that implementation does otherwise
    replay_driver
                 `make replay-driver`: what a recorded Linux driver did, done again
    driver_plan, driver_player, driver_dma, read_masks, play_account
                 a trace as steps; both sides of playing them; what is not compared; what was seen
"""
