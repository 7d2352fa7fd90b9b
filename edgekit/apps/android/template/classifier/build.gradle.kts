// What has nothing of Android in it: built and tested on any machine.
import org.jetbrains.kotlin.gradle.dsl.JvmTarget

plugins {
    kotlin("jvm")
}

java {
    sourceCompatibility = JavaVersion.VERSION_11
    targetCompatibility = JavaVersion.VERSION_11
}

kotlin {
    compilerOptions {
        jvmTarget = JvmTarget.JVM_11
    }
}

dependencies {
    compileOnly("org.json:json:20250517") // phones have it
    testImplementation("org.json:json:20250517")
    testImplementation("junit:junit:4.13.2")
    testImplementation(project(":golden"))
    // gradle.properties names the runtime, where there is one for this machine, too.
    providers.gradleProperty("runtimeOfThisMachine").orNull?.let {
        compileOnly(it)
        testImplementation(it)
    }
}

tasks.test {
    inputs.dir("../app/src/main/assets")
    inputs.dir("../app/src/androidTest/assets")
}
