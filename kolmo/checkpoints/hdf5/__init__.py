"""HDF5, read by hand: groups of datasets (https://support.hdfgroup.org/documentation, "HDF5 File
Format Specification", version 3.0).

The HDF5 library is not used: it is known to crash on files that are damaged or made to crash it.
What is read here lies in the file itself; links and storage in other files are listed, never
followed. Every address and size is checked before anything is read or allocated.
"""

from kolmo.checkpoints.hdf5.datasets import Hdf5, Hdf5Dataset

__all__ = ["Hdf5", "Hdf5Dataset"]
