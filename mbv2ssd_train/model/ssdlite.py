"""The network's former name; model/ssd.py has the network."""

from mbv2ssd_train.model.ssd import SSD as SSDLite

__all__ = ['SSDLite']
