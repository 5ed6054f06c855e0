"""Every constant of the refinement, below all that uses them: the objective, the solvers and the methods."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from fitting.start_prior import StartPrior

KernelOn = Literal["weighted", "error", "student"]
ObjectiveName = Literal["paper", "probability"]


@dataclass(frozen=True)
class Constants:
    """The objective's constants, the same for all frames.

    Attributes:
        prior_strength: lambda.
        pixel_scale: error that counts as 1, in pixels of the 256-pixel box.
        kernel_knee: c of the Geman-McClure kernel, in units of `pixel_scale`.
        kernel_on: "weighted": D = rho(w e^2), a doubtful keypoint's knee lies further out and all keypoints cost at
            most c^2; "error": D = w rho(e^2), SPIN's form; "student": D = (nu + 2) log(1 + w e^2 / nu).
        hinge_std: of the forbidden bend.
        degrees_of_freedom: nu of "student".
    """

    prior_strength: float
    pixel_scale: float
    kernel_knee: float
    kernel_on: KernelOn
    hinge_std: float
    degrees_of_freedom: float


@dataclass(frozen=True)
class FirstStage:
    """Constants of the translation stage; see `RefinementConfig` for what each is."""

    above: float
    std: tuple[float, float, float]
    iterations: int
    pixel_scale: float
    kernel_knee: float
    prior_strength: float


@dataclass(frozen=True)
class SolverSettings:
    """When to stop, and the damping.

    Attributes:
        max_iterations: steps tried, refused ones included.
        tolerance: relative decrease of the objective below which a frame has converged.
        initial_damping: mu of the first step.
        threads: of the compiled solver; 0 for all cores this process may use.
    """

    max_iterations: int = 50
    tolerance: float = 1e-4
    initial_damping: float = 0.01
    threads: int = 0


@dataclass(frozen=True)
class RefinementConfig:
    """Every constant of the refinement; the same for all weightings that are compared.

    `tools/choose_constants.py` chose the defaults on the open world's validation split, with the raw weighting.

    Attributes:
        prior_strength: lambda, the pull of everything that is not a 2D keypoint.
        pixel_scale: reprojection error that counts as 1, in pixels of a person box scaled to 256 pixels.
        kernel_knee: c of the Geman-McClure kernel in units of `pixel_scale`; a large one makes it least squares.
        kernel_on: "weighted" robustifies weight times squared error, "error" the error alone (SPIN's form), "student"
            is the negative log density of Student's t with precision w (`fitting.objective`).
        degrees_of_freedom: of "student".
        rotation_std_scale: factor on the table of joint standard deviations (`fitting.priors.JOINT_STD_RAD`).
        beta_std: standard deviation of the shape around the initial one.
        mean_shape_pull: strength of the pull to the mean shape, relative to that to the initial shape.
        translation_std: standard deviation of the translation (x, y, z) as fractions of the depth.
        start_prior: standard deviations of the start's errors, in place of the three above; None for those.
        posterior: also compute how sure each refined joint is (`fitting.start.posterior`).
        hinge_std_rad: forbidden bend of a knee or elbow that costs 1.
        first_stage_above: mean weighted reprojection error of the initial prediction, in pixels of the 256-pixel box,
            above which a first stage moves the body before its pose is touched. The solver moves it anyway; the stage
            is for predictions whose camera is far off, and harms good ones, whose pose error it turns into depth.
        first_stage_std: how far the first stage may move the body, as fractions of the depth (x, y, z).
        first_stage_iterations: its rounds.
        max_iterations, tolerance, initial_damping: see `SolverSettings`.
        max_beta: a shape beyond this many standard deviations is an error, not a body.
        solver: "torch" (any device) or "compiled" (CPU).
        precision: floating point of the torch solver; the compiled one always uses float64.
        batch_size: frames solved together by the torch solver.
        threads: of the compiled solver; 0 for all cores.
    """

    prior_strength: float = 16.0
    pixel_scale: float = 3.0
    kernel_knee: float = 10.0
    kernel_on: KernelOn = "error"
    degrees_of_freedom: float = 4.0
    rotation_std_scale: float = 1.5
    beta_std: float = 2.0
    mean_shape_pull: float = 0.1
    translation_std: tuple[float, float, float] = (0.1, 0.1, 0.3)
    start_prior: StartPrior | None = None
    posterior: bool = False
    hinge_std_rad: float = 0.1
    first_stage_above: float = 30.0
    first_stage_std: tuple[float, float, float] = (0.2, 0.2, 0.2)
    first_stage_iterations: int = 5
    max_iterations: int = 50
    tolerance: float = 1e-4
    initial_damping: float = 0.01
    max_beta: float = 10.0
    solver: Literal["torch", "compiled"] = "torch"
    precision: Literal["float32", "float64"] = "float32"
    batch_size: int = 256
    threads: int = 0

    def constants(self) -> Constants:
        """The objective's part."""
        return Constants(
            self.prior_strength,
            self.pixel_scale,
            self.kernel_knee,
            self.kernel_on,
            self.hinge_std_rad,
            self.degrees_of_freedom,
        )

    def first_stage(self) -> FirstStage:
        """The first stage's part."""
        return FirstStage(
            self.first_stage_above,
            self.first_stage_std,
            self.first_stage_iterations,
            self.pixel_scale,
            self.kernel_knee,
            self.prior_strength,
        )

    def solver_settings(self) -> SolverSettings:
        """The solver's part."""
        return SolverSettings(self.max_iterations, self.tolerance, self.initial_damping, self.threads)


def objective_constants(objective: ObjectiveName) -> RefinementConfig:
    """The constants of an objective by its name.

    "paper": a tuned pull to the start against pixels. "probability": both in units of their own uncertainty
    (`fitting.objective`), so that nothing is left to tune: lambda is 1, a pixel is a pixel, and only the degrees of
    freedom describe the noise.
    """
    if objective == "paper":
        return RefinementConfig()
    return replace(
        RefinementConfig(),
        prior_strength=1.0,
        pixel_scale=1.0,
        kernel_on="student",
        mean_shape_pull=0.0,
        first_stage_above=1e9,
        posterior=True,
    )
