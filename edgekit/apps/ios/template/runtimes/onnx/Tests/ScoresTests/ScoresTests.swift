import ClassifierRuntime
import Golden
import XCTest

/// Runs the model. A failure is one of the runtime, or of the model.
final class ScoresTests: XCTestCase {
    func testScores() throws {
        XCTAssertEqual(try Golden().wrongScores(ModelRuntime.self), [])
    }
}
