plugins {
    id("com.android.application")
}

android {
    namespace = "com.example.classifier"
    compileSdk = 36

    defaultConfig {
        applicationId = "com.example.classifier"
        minSdk = 24
        targetSdk = 36
        versionCode = 1
        versionName = "1.0"
        testInstrumentationRunner = "androidx.test.runner.AndroidJUnitRunner"
    }

    androidResources {
        ignoreAssetsPattern = "!.git" // else names that begin with a dot or end with ~ are left out
    }
}

dependencies {
    implementation(project(":classifier"))
    implementation(providers.gradleProperty("runtimeOfPhones").get())
    implementation("androidx.activity:activity:1.10.1")
    implementation("androidx.camera:camera-camera2:1.5.3")
    implementation("androidx.camera:camera-lifecycle:1.5.3")
    implementation("androidx.camera:camera-view:1.5.3")
    androidTestImplementation(project(":golden"))
    androidTestImplementation("androidx.test:runner:1.7.0")
    androidTestImplementation("androidx.test.ext:junit:1.3.0")
}
