"""Ports for servers that cannot be told to take any."""

import random
import socket

# Below those that the kernel gives to whoever connects somewhere (from 32768): none of these is taken between now and its use by a
# connection of somebody's.
FIRST, LAST = 12_000, 32_000


def free_ports(count):
    """Ports that nobody listens on."""
    sockets = []
    while len(sockets) < count:
        one = socket.socket()
        try:
            one.bind(("127.0.0.1", random.randrange(FIRST, LAST)))
            sockets.append(one)
        except OSError:
            one.close()
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def free_port():
    """A port that nobody listens on."""
    return free_ports(1)[0]
