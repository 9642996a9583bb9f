"""The stories: experiments with a machine, a driver and a judge, told from beginning to end.

    experiment   what an experiment declares: devices, pages, tags, what must survive
    lab          a machine with traffic, in one simulator process, for experiments in a few lines
    machine      the same as a device that kernels in other processes connect to
    evidence     what the event log proves about each store into a live entry
    demo         `make demo`: two kernels, one handover, an atomic swap; and break-before-make as the control
    replay       `make replay`: every probe of a capture, put to the gateware
"""
