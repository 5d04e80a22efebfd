"""The peers, by name, in the order of tables."""

from collections.abc import Iterable, Mapping
from typing import Final

from edgernn.bench.peer import Peer
from edgernn.bench.peers.litert import LiteRtPeer
from edgernn.bench.peers.native import NativePeer
from edgernn.bench.peers.ncnn import NcnnPeer
from edgernn.bench.peers.onnx_runtime import OnnxRuntimePeer
from edgernn.bench.peers.openvino import OpenVinoPeer
from edgernn.bench.peers.step_model import EdgernnPeer
from edgernn.bench.peers.torch_ao import TorchAoPeer
from edgernn.bench.peers.torch_compile import TorchCompilePeer
from edgernn.bench.peers.torch_eager import TorchEagerPeer
from edgernn.bench.peers.tract import TractPeer
from edgernn_runtime.errors import InputError

_ALL: Final[tuple[Peer, ...]] = (
    EdgernnPeer(),
    NativePeer(),
    TorchEagerPeer(),
    TorchCompilePeer(),
    TorchAoPeer(),
    OnnxRuntimePeer(),
    OpenVinoPeer(),
    TractPeer(),
    LiteRtPeer(),
    NcnnPeer(),
)

PEERS: Final[Mapping[str, Peer]] = {peer.name: peer for peer in _ALL}


def find_peers(names: Iterable[str]) -> list[Peer]:
    """Return the peers of some names, in the order of the registry.

    Raises:
        InputError: If no peer has a name.
    """
    wanted = list(names)
    for name in wanted:
        if name not in PEERS:
            raise InputError(f"no peer is called {name}; there are {', '.join(PEERS)}")
    return [peer for name, peer in PEERS.items() if name in wanted]
