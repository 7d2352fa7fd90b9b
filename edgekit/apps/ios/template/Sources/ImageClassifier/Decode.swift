import Foundation

/// A class, its name where it has one, and how sure the network is, from 0 to 1.
public struct Label: Identifiable, Equatable {
    public let index: Int
    /// As the contract has it: text from anywhere.
    public let label: String?
    public let probability: Double

    public var id: Int { index }

    /// The class as people call it, on one line.
    public var name: String {
        guard let label, !label.isEmpty else { return "class \(index)" }
        return printable(label)
    }
}

/// Probabilities of all classes; a single score tells two classes apart.
public func probabilities(_ scores: [Double], _ kind: Scores) -> [Double] {
    if scores.count == 1 {
        let second = kind == .logits ? 0.5 * (1 + tanh(scores[0] / 2)) : scores[0]
        return [1 - second, second]
    }
    guard kind == .logits, let most = scores.max() else { return scores }
    let shares = scores.map { exp($0 - most) }
    let sum = shares.reduce(0, +)
    return shares.map { $0 / sum }
}

/// The likeliest classes, the likeliest one first.
public func decode(_ scores: [Double], _ contract: Contract, most: Int = 5) -> [Label] {
    let shares = probabilities(scores, contract.scores)
    var names = contract.labels
    if let only = names, only.count == 1, shares.count == 2 {
        names = ["not \(only[0])", only[0]]
    }
    // What is no number comes last.
    let ranks = shares.map { $0.isNaN ? -Double.infinity : $0 }
    let order = shares.indices.sorted {
        ranks[$0] == ranks[$1] ? $0 < $1 : ranks[$0] > ranks[$1]
    }
    return order.prefix(most).map { index in
        let label = names.flatMap { index < $0.count ? $0[index] : nil }
        return Label(index: index, label: label, probability: shares[index])
    }
}

/// A text on one line, whatever is in it: signs that are not to be seen are written out.
public func printable(_ text: String) -> String {
    text.unicodeScalars.map { sign -> String in
        switch sign.properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator, .privateUse, .unassigned:
            return String(format: "\\u%04x", sign.value)
        default:
            return String(sign)
        }
    }.joined()
}
