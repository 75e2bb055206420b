"""Faults of the attack, and of the loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.faults.fault import Fault, constant, scaled, tensorflow, together, with_options, wrapped

if TYPE_CHECKING:
    from collections.abc import Callable

ATTACK = "cleverhans.tf2.attacks.fast_gradient_method"
EAGER = "suite.stacks.eager"
CRAFT = f"{EAGER}:fast_gradient_method"
STEP = f"{ATTACK}:optimize_linear"
PGD = "cleverhans.tf2.attacks.projected_gradient_descent"
CROSS_ENTROPY = "tensorflow:nn.sparse_softmax_cross_entropy_with_logits"


def at_epsilon(factor: float) -> Callable[[Any], Any]:
    """Attack with another epsilon than asked for."""
    return lambda real: (
        lambda fn, x, epsilon, *more, **named: real(fn, x, factor * epsilon, *more, **named)
    )


def with_labels(choose: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Attack away from other labels than the predicted ones."""

    def around(real: Any) -> Any:
        def attack(model_fn: Any, images: Any, *more: Any, **named: Any) -> Any:
            return real(model_fn, images, *more, **{**named, "y": choose(model_fn(images))})

        return attack

    return around


def second_best(logits: Any) -> Any:
    """Choose the class that comes second."""
    return tensorflow().math.top_k(logits, 2).indices[:, 1]


def in_norm_2(real: Any) -> Any:
    """Make the perturbation as large as before, in the Euclidean norm."""

    def step(gradient: Any, epsilon: Any, norm: Any) -> Any:
        del norm
        size = gradient.shape[1] * gradient.shape[2] * gradient.shape[3]
        return real(gradient, epsilon * size**0.5, 2)

    return step


def unmoved(shape: Any, *_: Any, **__: Any) -> Any:
    """Start an attack of several steps at the image."""
    return tensorflow().zeros(shape)


def of_one_image(real: Any) -> Any:
    """Start all images of a batch from the vector that is drawn for one."""

    def start(shape: Any, *arguments: Any, **options: Any) -> Any:
        tf = tensorflow()
        return tf.broadcast_to(real([1, *shape[1:]], *arguments, **options), shape)

    return start


def stepping(length: float = 1, fewer: int = 0) -> Any:
    """Make an attack of several steps take longer ones, or fewer."""
    return wrapped(
        f"{PGD}:projected_gradient_descent",
        lambda real: (
            lambda model, images, bound, step, count, *arguments, **options: real(
                model,
                images,
                bound,
                min(length * step, bound),
                count - fewer,
                *arguments,
                **options,
            )
        ),
    )


def clipped(real: Any) -> Any:
    """Take the cross-entropy of probabilities that are clipped, as Keras does of no logits."""

    def measure(labels: Any, logits: Any) -> Any:
        tf = tensorflow()
        chosen = tf.gather(tf.nn.softmax(logits), labels, batch_dims=1)
        cross_entropy = -tf.math.log(tf.clip_by_value(chosen, 1e-7, 1 - 1e-7))
        return tf.reduce_mean(cross_entropy), real(labels, logits)[1]

    return measure


def through(real: Any) -> Any:
    """Let the gradient pass the sign as it passes a quotient; the value stays as it is."""
    constant = tensorflow().stop_gradient

    def step(gradient: Any, epsilon: Any, norm: Any) -> Any:
        size = tensorflow().sqrt(tensorflow().reduce_mean(gradient**2, [1, 2, 3], keepdims=True))
        smooth = epsilon * gradient / (size + 1e-12)
        return real(gradient, epsilon, norm) + smooth - constant(smooth)

    return step


def softened(_: Any) -> Any:
    """Divide the gradient by its size and a little, so that small ones move a pixel less."""

    def step(gradient: Any, epsilon: Any, norm: Any) -> Any:
        del norm
        return epsilon * tensorflow().stop_gradient(gradient / (abs(gradient) + 1e-6))

    return step


def in_own_range(real: Any) -> Any:
    """Clip each perturbed image to the range that its own pixels had."""

    def attack(model_fn: Any, images: Any, *more: Any, **named: Any) -> Any:
        tf = tensorflow()
        ends = [
            end(images, axis=[1, 2, 3], keepdims=True) for end in (tf.reduce_min, tf.reduce_max)
        ]
        return tf.clip_by_value(real(model_fn, images, *more, **named), *ends)

    return attack


def half_batch(real: Any) -> Any:
    """Leave the second half of the batch as it is."""

    def attack(model_fn: Any, images: Any, *more: Any, **named: Any) -> Any:
        tf = tensorflow()
        half = tf.shape(images)[0] // 2
        perturbed = real(model_fn, images, *more, **named)
        return tf.concat([perturbed[:half], images[half:]], axis=0)

    return attack


def in_training(real: Any) -> Any:
    """Attack in the training phase, whichever was asked for."""
    return lambda model, phases, epsilon, branch: real(
        model, phases._replace(attack="training"), epsilon, branch
    )


def reweighted(clean: float, adversarial: float) -> Callable[[Any], Any]:
    """Weight the two cross-entropies otherwise."""

    def around(real: Any) -> Any:
        def make(*given: Any) -> Any:
            losses = real(*given)

            def other(images: Any, labels: Any) -> Any:
                _, measured = losses(images, labels)
                return clean * measured[0] + adversarial * measured[2], measured

            return other

        return make

    return around


def penalised(real: Any) -> Any:
    """Add the squares of the weights to the loss, as a regulariser that nobody asked for does."""

    def make(model: Any, *given: Any) -> Any:
        losses, tf = real(model, *given), tensorflow()

        def other(images: Any, labels: Any) -> Any:
            loss, measured = losses(images, labels)
            kernels = [w.value for w in model.trainable_variables if len(w.shape) > 1]
            return loss + 1e-4 * sum(tf.reduce_sum(kernel**2) for kernel in kernels), measured

        return other

    return make


def detached(real: Any) -> Any:
    """Report the adversarial loss, but train on the clean one alone."""

    def make(*given: Any) -> Any:
        losses, tf = real(*given), tensorflow()

        def other(images: Any, labels: Any) -> Any:
            _, measured = losses(images, labels)
            return 0.5 * measured[0] + tf.stop_gradient(0.5 * measured[2]), measured

        return other

    return make


def smoothed(share: float) -> Callable[[Any], Any]:
    """Spread a share of each label over all classes."""

    def around(real: Any) -> Any:
        def cross_entropy(labels: Any, logits: Any, **named: Any) -> Any:
            every = -tensorflow().reduce_mean(tensorflow().nn.log_softmax(logits), axis=-1)
            return (1 - share) * real(labels=labels, logits=logits, **named) + share * every

        return cross_entropy

    return around


def of_probabilities(real: Any) -> Any:
    """Take the softmax of the softmax."""
    return lambda labels, logits, **named: real(
        labels=labels, logits=tensorflow().nn.softmax(logits), **named
    )


def top_five(real: Any) -> Any:
    """Count an image as recognised where its label is among the five likeliest classes."""

    def measure(labels: Any, logits: Any) -> Any:
        ce, accuracy = real(labels, logits)
        right = tensorflow().math.in_top_k(labels, logits, 5)
        return ce, tensorflow().reduce_mean(tensorflow().cast(right, accuracy.dtype))

    return measure


def summed(real: Any) -> Any:
    """Add up the losses of the images."""

    def measure(labels: Any, logits: Any) -> Any:
        ce, accuracy = real(labels, logits)
        return ce * tensorflow().cast(tensorflow().shape(labels)[0], ce.dtype), accuracy

    return measure


def without_first(real: Any) -> Any:
    """Leave the first image of a batch out of the mean, as one that is off by one does."""
    return lambda labels, logits: real(labels[1:], logits[1:])


ATTACKS = [
    Fault("attack-sign", "attack", "The attack goes down the loss, towards the label.",
          wrapped(STEP, lambda real: scaled(real, -1.0)), r"attack goes elsewhere"),
    Fault("attack-size-1-percent", "attack", "The perturbation is 1 % larger.",
          wrapped(CRAFT, at_epsilon(1.01)), r"FGSM epsilon.*0\.0101 here"),
    Fault("attack-size-255", "attack", "Epsilon is meant for pixels up to 255.",
          wrapped(CRAFT, at_epsilon(1 / 255)), r"FGSM epsilon"),
    Fault("attack-norm", "attack", "The perturbation has the right size in the wrong norm.",
          wrapped(STEP, in_norm_2), r"FGSM epsilon|another norm"),
    Fault("attack-least-likely", "attack", "The attack goes away from the least likely class.",
          wrapped(CRAFT, with_labels(lambda logits: tensorflow().argmin(logits, axis=1))),
          r"other labels"),
    Fault("attack-second-best", "attack", "The attack goes away from the second best class.",
          wrapped(CRAFT, with_labels(second_best)), r"other labels"),
    Fault("attack-targeted", "attack", "The attack takes the prediction as its target.",
          wrapped(CRAFT, lambda real: lambda *given, **named: real(
              *given, **{**named, "targeted": True})), r"attack goes elsewhere"),
    Fault("attack-unclipped", "attack", "Pixels may leave [0, 1] (cleverhans#41).",
          with_options(CRAFT, clip_min=None, clip_max=None), r"clip|range|outside|pixel_max"),
    Fault("attack-half-batch", "attack", "The second half of a batch is not attacked.",
          wrapped(CRAFT, half_batch), r"attack goes elsewhere"),
    Fault("attack-in-training-phase", "attack", "The step attacks in the training phase.",
          wrapped(f"{EAGER}:_adversarial", in_training), r"adversarial pass|phase"),
    Fault("attack-through-gradient", "attack", "The perturbed images are not held constant.",
          together(wrapped(STEP, through),
                   wrapped("tensorflow:stop_gradient", lambda _: lambda x, *_: x)), r"radient",
          missed="the sign lets no gradient through, and what a smooth stand-in adds is below the "
          "tolerance of a gradient"),
    Fault("attack-softened", "attack", "The sign is g / (|g| + 1e-6), in place of g / |g|.",
          wrapped(STEP, softened), r"moves a pixel by"),
    Fault("attack-own-range", "attack", "Pixels are clipped to the range of each image.",
          wrapped(CRAFT, in_own_range), r"moves a pixel by"),
    Fault("attack-none-in-step", "attack", "The step trains on the clean images twice; the "
          "evaluation attacks.",
          wrapped(f"{EAGER}:_adversarial", lambda real: lambda model, phases, _, branch:
                  real(model, phases, 0.0, branch)), r"adversarial pass"),
    Fault("attack-pgd-unprojected", "attack", "An attack of several steps leaves its bound.",
          constant(f"{PGD}:clip_eta", lambda eta, *_: eta), r"several steps .*at most by"),
    Fault("attack-pgd-unstarted", "attack", "An attack of several steps starts at the image.",
          constant(f"{PGD}:random_lp_vector", unmoved), r"several steps .*random start"),
    Fault("attack-pgd-start-of-one", "attack", "An attack of several steps starts each image of a "
          "batch alike.",
          wrapped(f"{PGD}:random_lp_vector", of_one_image), r"several steps .*correlate by 1 "),
    Fault("attack-pgd-unclipped", "attack", "An attack of several steps may leave [0, 1].",
          with_options(f"{PGD}:projected_gradient_descent", clip_min=None, clip_max=None),
          r"several steps .*outside \[0, 1\] by 1 "),
    Fault("attack-pgd-a-step-less", "attack", "An attack of several steps makes one less.",
          stepping(fewer=1), r"several steps .*suffice for the bound"),
    Fault("attack-pgd-long-steps", "attack", "The steps of an attack of several are twice as long.",
          stepping(length=2), r"several steps .*step size of 0\.(5|4999)"),
]  # fmt: skip

LOSSES = [
    Fault("loss-clipped", "loss", "Probabilities are clipped at 1e-7 (Keras without from_logits).",
          wrapped(f"{EAGER}:_measure", clipped), r"wrong for sure"),
    Fault("loss-weights", "loss", "The clean images weigh 0.52, the perturbed ones 0.48.",
          wrapped(f"{EAGER}:_adversarial", reweighted(0.52, 0.48)), r"Loss: 0\.52 CE\(clean\)"),
    Fault("loss-detached", "loss", "The adversarial loss is reported, but gives no gradient.",
          wrapped(f"{EAGER}:_adversarial", detached), r"radient"),
    Fault("loss-smoothing", "loss", "Labels are smoothed by 0.02.",
          wrapped(CROSS_ENTROPY, smoothed(0.02)), r"loss|Loss"),
    Fault("loss-sum", "loss", "The loss is the sum over the batch, not its mean.",
          wrapped(f"{EAGER}:_measure", summed), r"loss|Loss|radient"),
    Fault("loss-of-probabilities", "loss", "The softmax is taken twice (keras#6143).",
          wrapped(CROSS_ENTROPY, of_probabilities), r"loss|Loss"),
    Fault("loss-penalty", "loss", "1e-4 of the squared weights is added to the loss.",
          together(wrapped(f"{EAGER}:_adversarial", penalised),
                   wrapped(f"{EAGER}:_plain", penalised)), r"loss|Loss|shrink"),
    Fault("loss-without-first", "loss", "The first image of a batch is not trained on.",
          wrapped(f"{EAGER}:_measure", without_first), r"loss|Loss"),
    Fault("accuracy-of-five", "loss", "The accuracy that a step reports is that of the five "
          "likeliest classes.", wrapped(f"{EAGER}:_measure", top_five), r"accuracy that the step"),
]  # fmt: skip
