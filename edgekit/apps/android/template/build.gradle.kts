plugins {
    id("com.android.application") version "9.1.0" apply false
    kotlin("jvm") version "2.3.20" apply false
}
