// swift-tools-version: 5.9
import PackageDescription

let package = Package(
    name: "ImageClassifier",
    platforms: [.iOS(.v16), .macOS(.v13)],
    products: [
        .library(name: "ImageClassifier", targets: ["ImageClassifier"]),
        .library(name: "ClassifierRuntime", targets: ["ClassifierRuntime"]),
    ],
    dependencies: [
        .package(
            url: "https://github.com/microsoft/onnxruntime-swift-package-manager",
            from: "1.24.2")
    ],
    targets: [
        .target(name: "ImageClassifier", resources: [.copy("model")]),
        .target(
            name: "ClassifierRuntime",
            dependencies: [
                "ImageClassifier",
                .product(name: "onnxruntime", package: "onnxruntime-swift-package-manager"),
            ]),
        .target(
            name: "Golden", dependencies: ["ImageClassifier"], path: "Tests/Golden",
            resources: [.copy("golden")]),
        .testTarget(name: "ImageClassifierTests", dependencies: ["ImageClassifier", "Golden"]),
        .testTarget(name: "ScoresTests", dependencies: ["ClassifierRuntime", "Golden"]),
    ]
)
