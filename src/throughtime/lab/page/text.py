"""The lesson's own words: before the first experiment, between them, and after the last."""

from typing import NamedTuple

OPENING = """
A sequence is read one step at a time, and what to say at a step can depend on anything that came
before. So a model of sequences needs three things: some place where the past is kept, a rule by
which each step changes what is kept, and a way to learn both from mistakes that show up only later.

A recurrent network has one answer to each. The place is its **state**, a fixed number of numbers.
The rule is the same at every step: new state from old state and input. And it learns by following
each mistake back through all the states that led to it.

All that this lesson says beyond that is **measured, here, on your machine**. Each experiment asks
you first. Commit to an answer, then turn its knobs, run it, and see. Being wrong is the point: what
you predicted and what came is kept side by side, and summed up at the end.

The order is that of a short teaching page, *Why RNNs handle sequences*. Where measuring disagrees
with it, or with what is commonly said, the experiment says so.
"""

UNROLLED = """
This network reads the letters *a* and *b*, and after each says which letter came **four steps
before**. To do so it has to hold the last four letters in eight numbers. Forward, each new state
appears, blue above zero and orange below. Then the loss of one step goes back: an arrow is as thick
as the logarithm of the gradient there, three decades from the thickest to nothing. All numbers are
its own.
"""

CLOSING = """
What lasts, when the details are gone: a state is a summary of fixed size, and training decides what
is in it. How far back training can look is set by how the weights begin, before anything is
learned. And most of what goes wrong in practice raises no error, so measure: against a control, on
more than one seed, and against the simplest thing that could do the same.
"""

SECTIONS = {
    "build-up": (
        "From the bottom",
        "What is it about a sequence that an ordinary network can't use? These eight go from there "
        "to a network that keeps a state, how it learns, where that fails, and what else there is. "
        "Each one takes something away and measures what is lost.",
    ),
    "why designed so": (
        "Why it is made so",
        "A recurrent network uses the same weights at every step. That was chosen for two reasons, "
        "and each can be measured by choosing otherwise.",
    ),
    "myths": (
        "Four myths",
        "Four things that many believe of recurrent networks. None is simply wrong: in each there "
        "is a part that holds, and what is worth knowing is where it ends.",
    ),
    "expert remarks": (
        "What experts say",
        "Three remarks that are passed on as known. Said in general they sound alike. Measured, "
        "they fare differently.",
    ),
    "when and where": (
        "When and where to use one",
        "Which model to take is a question of a budget: of updates, of memory, of time for each "
        "step. These four put numbers to it, for the models that are compared most often.",
    ),
    "connections": (
        "What it is related to",
        "A thing that reads step by step and keeps a state was there long before networks. What is "
        "known of its relatives says what a state can hold, and gives ways to look into one.",
    ),
    "pitfalls": (
        "What goes wrong",
        "Each of these raises no error, or raises it too late. What you see is a model that is "
        "somewhat bad, so it pays to know how each one shows.",
    ),
}
"""A heading and some words for each section."""


class Lead(NamedTuple):
    """What stands above an experiment.

    Attributes:
        title: its name in words.
        words: what has to be known to answer its question.
    """

    title: str
    words: str


LEADS = {
    "order-matters": Lead(
        "Order matters",
        "Take a sequence and count its symbols: how they were ordered can't be seen from the "
        "counts. One network is given counts, another reads the symbols step by step, and both "
        "get the same task. Then the order is taken from the second one, too.",
    ),
    "fixed-window-against-recurrence": Lead(
        "A fixed window against recurrence",
        "A feedforward network can read a sequence if all its steps are laid side by side, and so "
        "it sees their order as well. Here one of that kind and a recurrent network learn the "
        "same task. Then they are asked about places where training never showed them anything.",
    ),
    "what-the-hidden-state-holds": Lead(
        "What the hidden state holds",
        "A state can be asked what it knows: fit a linear read-out from the state to an input of "
        "some steps ago, and see how much of that input it explains on data that it was not "
        "fitted to. Nothing of the network itself is changed by asking.",
    ),
    "truncated-bptt-window": Lead(
        "How much of the past training sees",
        "A long sequence is cut into windows for training. The state is carried from one window "
        "into the next, while gradients stop at the cut. So what came before a window is still "
        "in the state at its start, but no mistake is followed back beyond that start.",
    ),
    "bptt-by-hand": Lead(
        "Backpropagation through time, by hand",
        "Unrolled, a recurrent network is a deep one whose layers share their weights, and a "
        "gradient is what the chain rule says. It can be written down in a few lines, and compared "
        "with what autograd finds.",
    ),
    "vanishing-and-exploding": Lead(
        "Vanishing and exploding gradients",
        "From a step to the one before, a gradient is multiplied by the derivative of the new "
        "state by the old one. Over many steps that is a long product. Whether it shrinks or grows "
        "can be measured before anything is trained.",
    ),
    "fused-loop": Lead(
        "The loop inside",
        "Somewhere there is a loop over the steps: in your Python, or inside one call of the "
        "library. The arithmetic is the same in both. What differs is what is done around it, at "
        "each step or once.",
    ),
    "alternatives": Lead(
        "What else there is",
        "A Transformer keeps every step, and each new one looks back at all of them at once. No "
        "step waits for the one before it, and nothing is kept but the steps themselves. A "
        "recurrent network keeps a state, and never sees an earlier step again.",
    ),
    "shared-weights": Lead(
        "The same weights at every step",
        "Give each step weights of its own, and the network can do all that it could before, and "
        "more. It also has many times the parameters, and each of them sees only what comes at its "
        "own step.",
    ),
    "any-length": Lead(
        "Any length",
        "A network whose weights don't depend on the step can be run for more steps than it was "
        "trained on. That it runs is one thing; that it is still right there is another.",
    ),
    "perfect-memory": Lead(
        "Does it remember everything?",
        "Think of a state as a box of fixed size, and of each input as one more thing to be put "
        "into it. No training is needed to ask how many fit: a network can be made, not trained, "
        "so that it loses as little as can be.",
    ),
    "parallel-or-step-by-step": Lead(
        "In parallel, or step by step?",
        "To say that a network reads step by step is to say two things. Its output at a step can't "
        "depend on later inputs, and its steps have to wait for each other. The first is about "
        "what is computed, the second about how long that takes.",
    ),
    "fixed-memory": Lead(
        "Is the state a fixed store?",
        "A store keeps what was put into it. A state is made anew at every step, from itself and "
        "the input. How much of it changes in a step is easily measured in a trained network.",
    ),
    "always-best": Lead(
        "Is it always the best choice?",
        "Two tasks, two kinds of model. One task has a small fact that changes with every symbol, "
        "the other a list of pairs to be looked up. Both kinds of model get both tasks, and the "
        "same budget.",
    ),
    "compressed-summary": Lead(
        "A compressed summary",
        "If a state can't hold all that came, something has to be left out. What is in a state "
        "can be found out from outside: train a read-out to name a symbol from the state alone, "
        "and see how often it is right.",
    ),
    "sharing-and-long-dependencies": Lead(
        "Does sharing weights hurt long dependencies?",
        "Going back through time multiplies by the same matrix again and again. With weights of "
        "its own at each step a network would multiply by many different ones. Both products can "
        "be computed many times over, and compared.",
    ),
    "clipping-and-initialisation": Lead(
        "Clipping and initialisation",
        "Clipping scales a gradient down when it is longer than some bound, and keeps its "
        "direction. Initialisation decides how long gradients are before anything is learned. "
        "Both are named as cures for gradients that vanish or explode.",
    ),
    "gates-and-their-bias": Lead(
        "Gates, and what they start from",
        "A gate says, for each unit, how much of the old state is kept in a step. What it says "
        "before training depends on its bias, more or less, and torch starts that bias near zero.",
    ),
    "streaming-cost": Lead(
        "What a step costs in a stream",
        "Where inputs come one by one for as long as the power is on, two things count: what has "
        "to be kept between them, and how long each takes. Attention keeps something of every step "
        "that it may look at; a recurrent network keeps its state.",
    ),
    "forecast-honestly": Lead(
        "Forecasting, honestly",
        "Many series have a rhythm, and repeating what was one period ago is a forecast that costs "
        "nothing. A model that was trained is worth its trouble only if it beats that, on rows "
        "that come after all those that it has seen.",
    ),
    "what-recurrence-does-better": Lead(
        "What recurrence does better",
        "Some facts about a sequence change with every symbol, and depend on the whole of what "
        "came before: whether a count is odd, where a piece now stands. To follow such a fact is "
        "called state tracking.",
    ),
    "markov-chain": Lead(
        "Markov chains",
        "A Markov chain of order n predicts from the last n symbols, and knows nothing that came "
        "before. There are simple sources for which no n is enough, although two states are. The "
        "least loss that anything can reach on such a source is known by a formula.",
    ),
    "working-memory": Lead(
        "Working memory",
        "People who hear a list and have to repeat some item of it do best on the items near its "
        "ends. A network can be given the same test: a list, then the number of a place, and it "
        "says what was there.",
    ),
    "state-machine": Lead(
        "State machines",
        "A state machine has finitely many states, and a network's state is a point in a space of "
        "many dimensions. Still, a network that has learned a regular language may act as the "
        "machine for it. By asking it about words, the machine can be read off.",
    ),
    "fixed-points": Lead(
        "Fixed points",
        "A state that a step leaves as it is, is called a fixed point. Where states nearby are "
        "drawn to it, it holds: a bit that is kept is a fixed point that things return to. They "
        "can be found by search, without running the network on any data.",
    ),
    "shapes": Lead(
        "Shapes",
        "A batch of sequences has three axes: samples, steps, features. Which of them comes first "
        "is a matter of agreement, and what is done with other shapes is up to the library.",
    ),
    "stale-state": Lead(
        "A stale state",
        "A state says what came before. Code that carries one on has to know when what comes next "
        "belongs to it, and when it does not.",
    ),
    "no-clipping": Lead(
        "No clipping",
        "Where a state can grow from step to step, a gradient can too, and sometimes one batch is "
        "enough to throw the weights far off. A bound on the length of each gradient is one line "
        "of code.",
    ),
    "padding": Lead(
        "Padding",
        "Sequences of a batch differ in length, so short ones are filled up with something. That "
        "is read too, unless the network is told where each sequence ends, and many programs take "
        "what it says at the last column of the batch.",
    ),
    "train-deploy-mismatch": Lead(
        "Trained one way, run another",
        "In training, all of a window is there at once. At work there is only the past, so what "
        "was computed from the whole window has to be computed from less. Each such difference is "
        "a chance for the numbers to differ too.",
    ),
    "beyond-the-training-length": Lead(
        "Beyond the length it was trained on",
        "In training, a state is carried for so many steps and no more. Some of what a state has "
        "to hold comes back to one of a few values again and again, and some grows with the "
        "length of the sequence.",
    ),
    "lyapunov-predicts-gradients": Lead(
        "One number that predicts gradients",
        "How fast two nearby states come together or part, in one step and on average, is called a "
        "Lyapunov exponent. It comes from running the network forward; a gradient runs back "
        "through the same steps.",
    ),
}
"""What stands above each experiment, by its name."""
