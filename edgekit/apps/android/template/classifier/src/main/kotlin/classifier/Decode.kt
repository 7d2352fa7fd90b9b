package classifier

import kotlin.math.exp
import kotlin.math.tanh

/**
 * A class, its name where it has one, and how sure the network is, from 0 to 1.
 *
 * @property label as the contract has it: text from anywhere.
 */
data class Label(
    val index: Int,
    val label: String?,
    val probability: Double,
) {
    /** The class as people call it, on one line. */
    val name: String get() = if (label.isNullOrEmpty()) "class $index" else printable(label)
}

/** Probabilities of all classes; a single score tells two classes apart. */
fun probabilities(
    scores: DoubleArray,
    kind: Scores,
): DoubleArray {
    if (scores.size == 1) {
        val second = if (kind == Scores.LOGITS) 0.5 * (1 + tanh(scores[0] / 2)) else scores[0]
        return doubleArrayOf(1 - second, second)
    }
    if (kind != Scores.LOGITS || scores.isEmpty()) return scores
    val most = scores.max()
    val shares = DoubleArray(scores.size) { exp(scores[it] - most) }
    val sum = shares.sum()
    return DoubleArray(shares.size) { shares[it] / sum }
}

/** The likeliest classes, the likeliest one first. */
fun decode(
    scores: DoubleArray,
    contract: Contract,
    most: Int = 5,
): List<Label> {
    val shares = probabilities(scores, contract.scores)
    val given = contract.labels
    val names = if (given?.size == 1 && shares.size == 2) listOf("not ${given[0]}", given[0]) else given

    // What is no number comes last.
    fun rank(i: Int) = if (shares[i].isNaN()) Double.NEGATIVE_INFINITY else shares[i]
    val order = shares.indices.sortedByDescending { rank(it) }
    return order.take(most).map { Label(it, names?.getOrNull(it), shares[it]) }
}

/** A text on one line, whatever is in it: signs that are not to be seen are written out. */
fun printable(text: String): String =
    buildString {
        for (sign in text) {
            if (hidden(sign)) append("\\u%04x".format(java.util.Locale.ROOT, sign.code)) else append(sign)
        }
    }

private fun hidden(sign: Char): Boolean =
    when (sign.category) {
        CharCategory.CONTROL, CharCategory.FORMAT, CharCategory.LINE_SEPARATOR,
        CharCategory.PARAGRAPH_SEPARATOR, CharCategory.PRIVATE_USE, CharCategory.UNASSIGNED,
        -> true

        else -> false
    }
