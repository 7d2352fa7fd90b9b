import Foundation
import Golden
import XCTest

@testable import ImageClassifier

/// Holds the package against the golden images, without a runtime. A failure of `testPixels` is one
/// of decoding or resizing, `testLabels` of what the outputs are taken for.
final class GoldenTests: XCTestCase {
    private var golden: Golden!

    override func setUpWithError() throws {
        golden = try Golden()
    }

    func testPixels() throws {
        let how = golden.contract.preprocessing
        for image in golden.images {
            let read = try Pixels(file: golden.file(image.file), upright: how.exif == .upright)
            let found = try finishedPixels(read, how)
            let known = try golden.known(image)
            XCTAssertEqual([found.width, found.height], [known.width, known.height], image.file)
            XCTAssertEqual(found.channels, known.channels, image.file)
            XCTAssertEqual(found.data.count, known.data.count, image.file)
            guard found.data.count == known.data.count else { continue }  // which has failed
            let off = zip(found.data, known.data).map { abs(Double($0) - Double($1)) }
            XCTAssertLessThanOrEqual(off.max() ?? 0, image.mostOff.one, image.file)
            let mean = off.reduce(0, +) / Double(off.count)
            XCTAssertLessThanOrEqual(mean, image.mostOff.mean, image.file)
        }
    }

    func testLabels() throws {
        for image in golden.images {
            let found = decode(image.scores["file"]!, golden.contract, most: image.labels.count)
            XCTAssertEqual(found.map { $0.index }, image.labels.map { $0.index }, image.file)
            XCTAssertEqual(found.map { $0.label }, image.labels.map { $0.label }, image.file)
            for (mine, known) in zip(found, image.labels) {
                XCTAssertEqual(mine.probability, known.probability, accuracy: 1e-6, image.file)
            }
        }
        for vector in golden.vectors {
            let found = probabilities(vector.scores, vector.kind)
            XCTAssertEqual(found.count, vector.probabilities.count)
            for (mine, known) in zip(found, vector.probabilities) {
                XCTAssertEqual(mine, known, accuracy: 1e-9)
            }
        }
    }

    func testRefused() {
        for text in ["", "no image", "GIF89a", "BM"] {
            XCTAssertThrowsError(try Pixels(file: Data(text.utf8), upright: true), text)
        }
        XCTAssertThrowsError(try Pixels(file: Data(Png.signature), upright: true))
    }
}
