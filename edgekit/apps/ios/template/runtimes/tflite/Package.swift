// swift-tools-version: 5.9
import PackageDescription

// LiteRT is a pod and no package, so that what runs the model belongs to the app (App/).
let package = Package(
    name: "ImageClassifier",
    platforms: [.iOS(.v16), .macOS(.v13)],
    products: [
        .library(name: "ImageClassifier", targets: ["ImageClassifier"]),
        .library(name: "Golden", targets: ["Golden"]),
    ],
    targets: [
        .target(name: "ImageClassifier", resources: [.copy("model")]),
        .target(
            name: "Golden", dependencies: ["ImageClassifier"], path: "Tests/Golden",
            resources: [.copy("golden")]),
        .testTarget(name: "ImageClassifierTests", dependencies: ["ImageClassifier", "Golden"]),
    ]
)
