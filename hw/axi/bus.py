"""AXI4 channels as streams of named layouts, and as the flat ports that other people's tools know.

Inside the wrapper a channel is a stream (VALID and READY are a stream's). At its edge every signal is a port of its own,
named as in the specification behind a prefix: ``s_dma_awaddr``.

Source: Arm IHI 0022, issue H, A2 (signals), A3 (handshake), B1 (AXI4-Lite).
"""
from amaranth import *
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from hw.spec.axi import AXI_ADDRESS_BITS, AxiBurst, AxiResponse
from hw.spec.dma import TAG_BITS

__all__ = ["DATA_BITS", "FlatBus", "address_layout", "axi4_channels", "axi4_lite_channels", "check_sizes", "read_layout",
           "response_layout", "write_layout"]

DATA_BITS = (32, 64, 128, 256, 512, 1024)   # permitted here
_ID_BITS_MOST = 32
_SLOTS_MOST = 1 << (TAG_BITS - 1)           # a DMA tag names the direction and the slot


def check_sizes(*, data_bits, id_bits, slots):
    """Refuse sizes that a DMA path cannot have, with a ValueError that names the value."""
    if data_bits not in DATA_BITS:
        raise ValueError(f"data_bits must be one of {DATA_BITS}, not {data_bits!r}")
    if not 1 <= id_bits <= _ID_BITS_MOST:
        raise ValueError(f"id_bits must be between 1 and {_ID_BITS_MOST}, not {id_bits!r}")
    if not 2 <= slots <= _SLOTS_MOST:
        raise ValueError(f"slots must be between 2 and {_SLOTS_MOST}, not {slots!r}")


def address_layout(*, id_bits, user):
    """AW and AR. AxREGION is absent: what it would say about an address is no longer true when it has been translated."""
    return data.StructLayout({
        "id": id_bits, "addr": AXI_ADDRESS_BITS, "len": 8, "size": 3, "burst": AxiBurst, "lock": 1, "cache": 4,
        "prot": 3, "qos": 4, "user": user,
    })


def write_layout(*, data_bits):
    """W."""
    return data.StructLayout({"data": data_bits, "strb": data_bits // 8, "last": 1})


def response_layout(*, id_bits):
    """B."""
    return data.StructLayout({"id": id_bits, "resp": AxiResponse})


def read_layout(*, data_bits, id_bits):
    """R."""
    return data.StructLayout({"id": id_bits, "data": data_bits, "resp": AxiResponse, "last": 1})


def axi4_channels(*, data_bits, id_bits, user):
    """The five channels of an AXI4 bus, by their prefix in signal names."""
    address = address_layout(id_bits=id_bits, user=user)
    return {"aw": address, "w": write_layout(data_bits=data_bits), "b": response_layout(id_bits=id_bits),
            "ar": address, "r": read_layout(data_bits=data_bits, id_bits=id_bits)}


def axi4_lite_channels(*, data_bits, address_bits):
    """Those of AXI4-Lite."""
    address = data.StructLayout({"addr": address_bits, "prot": 3})
    return {"aw": address, "w": data.StructLayout({"data": data_bits, "strb": data_bits // 8}),
            "b": data.StructLayout({"resp": AxiResponse}), "ar": address,
            "r": data.StructLayout({"data": data_bits, "resp": AxiResponse})}


class FlatBus:
    """One bus as flat ports of a component.

    Parameters
    ----------
    prefix : str
        ``s_dma`` makes ``s_dma_awaddr``.
    channels : dict
        See `axi4_channels`. A field without bits has no port.
    manager : bool
        The component is the one that asks (its AW, W and AR go out), not the one that is asked.
    """

    def __init__(self, prefix, channels, *, manager):
        self._prefix = prefix
        self._channels = channels
        self._manager = manager

    @property
    def members(self):
        """The ports, for the component's signature."""
        result = {}
        for channel, layout in self._channels.items():
            forward, back = (Out, In) if self._outward(channel) else (In, Out)
            for name, field in layout:
                if field.width:
                    result[f"{self._prefix}_{channel}{name}"] = forward(field.width)
            result[f"{self._prefix}_{channel}valid"] = forward(1)
            result[f"{self._prefix}_{channel}ready"] = back(1)
        return result

    def connect(self, m, component, channel, port):
        """Connect one channel of `component` to a stream that must have the channel's layout.

        Raises
        ------
        TypeError
            If it has another.
        """
        layout = self._channels[channel]
        if port.payload.shape() != layout:
            raise TypeError(f"{self._prefix}_{channel} is {layout!r}, not {port.payload.shape()!r}")
        inside = {name: Value.cast(port.payload[name]) for name, field in layout if field.width}
        for name, value in (inside | {"valid": port.valid, "ready": port.ready}).items():
            outside = getattr(component, f"{self._prefix}_{channel}{name}")
            outward = self._outward(channel) != (name == "ready")
            m.d.comb += outside.eq(value) if outward else value.eq(outside)

    def _outward(self, channel):
        return (channel in {"aw", "w", "ar"}) == self._manager


def channel_streams(channels, *, manager):
    """The channels as stream members of a block's signature, by channel name."""
    return {channel: (Out if (channel in {"aw", "w", "ar"}) == manager else In)(stream.Signature(layout))
            for channel, layout in channels.items()}


__all__ += ["channel_streams"]
