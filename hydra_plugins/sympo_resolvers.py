"""Config resolvers, registered before Hydra composes any config."""

from collections.abc import Mapping

from omegaconf import OmegaConf


def of_job(job: str, options: Mapping[str, str], otherwise: str) -> str:
    """An option that depends on the job: `${of_job:${job},{JOB:OPTION},OTHERWISE}`."""
    return options.get(job, otherwise)


OmegaConf.register_new_resolver("of_job", of_job, replace=True)
