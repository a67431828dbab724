"""From a container's configuration to what becomes of its output. Pure."""

from events.messages.container import ContainerSecrets
from events.projections.containers import Container
from handlers.exec.log_options import DEFAULT_DRIVER, LogPlan, Subject, plan


def plan_of(container: Container, secrets: ContainerSecrets) -> LogPlan:
    """Raises InvalidParameter, Unsupported for what an earlier version has let through."""
    return plan(container.host.log_config.type or DEFAULT_DRIVER, secrets.log_options, subject_of(container, secrets))


def subject_of(container: Container, secrets: ContainerSecrets) -> Subject:
    """The container as its log entries name it."""
    return Subject(
        container_id=container.id,
        name=container.name,
        image_id=container.image_id,
        image_name=container.image_reference,
        labels=container.config.labels,
        env=secrets.env,
    )
