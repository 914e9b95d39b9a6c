"""What `pos3 doctor` looks at: this machine, a profile and a place in a store. Bad findings come with advice."""

from pos3.doctor.findings import Finding, failed
from pos3.doctor.machine import check_machine
from pos3.doctor.place import check_place
from pos3.doctor.profile import check_profile

__all__ = ["Finding", "check_machine", "check_place", "check_profile", "failed"]
