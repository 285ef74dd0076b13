"""What can be seen to be wrong before the sources are listed, which may take minutes. Knows no sources."""

from penstock.protocol.transport.addresses import check_exposure
from penstock.ventilator.monitoring.scaling import ScalingPolicy
from penstock.ventilator.settings import VentilatorSettings
from penstock.ventilator.standby.record_files import check_folder


def check_early(settings: VentilatorSettings, *, has_keys: bool) -> None:
    """Raise SpecError for settings that cannot be."""
    if not has_keys:
        check_exposure(settings.bind, insecure=settings.insecure)
    if settings.standby:
        check_folder(settings.standby)
    ScalingPolicy(settings.workers_least, settings.workers_most)
