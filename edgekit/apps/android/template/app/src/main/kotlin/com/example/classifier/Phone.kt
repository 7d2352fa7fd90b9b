package com.example.classifier

import android.content.Context
import android.graphics.Bitmap
import android.graphics.BitmapFactory
import android.graphics.Matrix
import androidx.camera.core.ImageProxy
import classifier.Classifier
import classifier.Decoder
import classifier.Image
import classifier.ImageError
import classifier.ModelRuntime
import classifier.header
import classifier.reduction
import classifier.turned
import java.io.File
import java.nio.ByteBuffer

/** The classifier whose model is in the app's assets. Throws a [classifier.ModelError]. */
fun loadClassifier(
    context: Context,
    threads: Int = 2,
): Classifier = Classifier(modelFolder(context), PhoneDecoder, ModelRuntime, threads)

/** The model as files, which runtimes open: copied out of the app where it is a new one. */
private fun modelFolder(context: Context): File {
    val installed = context.packageManager.getPackageInfo(context.packageName, 0).lastUpdateTime
    val all = File(context.noBackupFilesDir, "model")
    val folder = File(all, installed.toString())
    if (folder.isDirectory) return folder
    all.deleteRecursively()
    val partial = File(all, "partial")
    copyAssets(context, "model", partial)
    check(partial.renameTo(folder)) { "the model cannot be copied to ${folder.path}" }
    return folder
}

private fun copyAssets(
    context: Context,
    path: String,
    to: File,
) {
    val inside = context.assets.list(path).orEmpty()
    if (inside.isEmpty()) {
        context.assets.open(path).use { from -> to.outputStream().use { from.copyTo(it) } }
        return
    }
    to.mkdirs()
    for (name in inside) copyAssets(context, "$path/$name", File(to, name))
}

/** Decodes by what Android has; PNG files are decoded by the classifier itself. */
object PhoneDecoder : Decoder {
    override fun decode(bytes: ByteArray): Image? {
        val options =
            BitmapFactory.Options().apply {
                inPreferredConfig = Bitmap.Config.ARGB_8888
                inPremultiplied = false
                inScaled = false
            }
        val bitmap =
            try {
                BitmapFactory.decodeByteArray(bytes, 0, bytes.size, options)
            } catch (error: OutOfMemoryError) {
                throw ImageError("the image is too large for this phone's memory", error)
            } ?: return null
        try {
            val found = Image(bitmap.width, bitmap.height, 4)
            // Not getPixels, which changes colours where the image has a profile.
            bitmap.copyPixelsToBuffer(ByteBuffer.wrap(found.data))
            return found
        } catch (error: OutOfMemoryError) {
            throw ImageError("the image is too large for this phone's memory", error)
        } finally {
            bitmap.recycle()
        }
    }
}

/**
 * A picture to be shown, upright, of at most [MOST_SHOWN] pixels a side: Android draws none of more
 * than 100 MB, which is 26 megapixels. Null where Android cannot decode it.
 */
fun shownPicture(bytes: ByteArray): Bitmap? {
    val header = header(bytes)
    val options = BitmapFactory.Options()
    options.inSampleSize = reduction(header.width, header.height, MOST_SHOWN)
    val found = BitmapFactory.decodeByteArray(bytes, 0, bytes.size, options) ?: return null
    val turn = Matrix()
    when (header.orientation) {
        3, 4 -> turn.postRotate(180f)
        5, 6 -> turn.postRotate(90f)
        7, 8 -> turn.postRotate(270f)
    }
    if (header.orientation in setOf(2, 4, 5, 7)) turn.postScale(-1f, 1f)
    return Bitmap.createBitmap(found, 0, 0, found.width, found.height, turn, true)
}

private const val MOST_SHOWN = 2048

/** A frame of the camera, upright. */
fun ImageProxy.toImage(): Image {
    val plane = planes[0]
    val rows = plane.buffer
    val found = Image(width, height, 4)
    for (y in 0 until height) {
        rows.position(y * plane.rowStride)
        rows.get(found.data, 4 * y * width, 4 * width)
    }
    val orientation =
        when (imageInfo.rotationDegrees) {
            90 -> 6
            180 -> 3
            270 -> 8
            else -> 1
        }
    return turned(found, orientation)
}
