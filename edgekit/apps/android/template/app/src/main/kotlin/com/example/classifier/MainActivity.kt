package com.example.classifier

import android.Manifest
import android.content.pm.PackageManager
import android.graphics.Bitmap
import android.net.Uri
import android.os.Bundle
import android.text.BidiFormatter
import android.util.Log
import android.view.View
import android.widget.Button
import android.widget.ImageView
import android.widget.LinearLayout
import android.widget.ProgressBar
import android.widget.TextView
import androidx.activity.ComponentActivity
import androidx.activity.result.PickVisualMediaRequest
import androidx.activity.result.contract.ActivityResultContracts.PickVisualMedia
import androidx.activity.result.contract.ActivityResultContracts.RequestPermission
import androidx.camera.core.CameraSelector
import androidx.camera.core.ImageAnalysis
import androidx.camera.core.ImageProxy
import androidx.camera.core.Preview
import androidx.camera.lifecycle.ProcessCameraProvider
import androidx.camera.view.PreviewView
import classifier.Classifier
import classifier.Image
import classifier.ImageError
import classifier.Label
import java.io.IOException
import java.text.NumberFormat
import java.util.concurrent.Executor
import java.util.concurrent.Executors
import kotlin.math.roundToInt

/** Shows what a picture, or the camera, shows. */
class MainActivity : ComponentActivity() {
    /** All work with the classifier, which one thread at a time may use. */
    private val worker = Executors.newSingleThreadExecutor()
    private var classifier: Classifier? = null
    private var cameras: ProcessCameraProvider? = null
    private var shown: Uri? = null

    private val pick = registerForActivityResult(PickVisualMedia()) { if (it != null) showFile(it) }
    private val ask =
        registerForActivityResult(RequestPermission()) { allowed ->
            if (allowed) openCamera() else say(getString(R.string.camera_refused))
        }

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.main)
        find<Button>(R.id.choose).setOnClickListener {
            closeCamera()
            pick.launch(PickVisualMediaRequest.Builder().setMediaType(PickVisualMedia.ImageOnly).build())
        }
        find<Button>(R.id.camera).setOnClickListener {
            if (cameras != null) closeCamera() else askForCamera()
        }
        worker.execute(::load)
        if (savedInstanceState == null) return
        savedInstanceState.getString(URI)?.let { showFile(Uri.parse(it)) }
        if (savedInstanceState.getBoolean(CAMERA)) openCamera()
    }

    override fun onSaveInstanceState(outState: Bundle) {
        super.onSaveInstanceState(outState)
        outState.putString(URI, shown?.toString())
        outState.putBoolean(CAMERA, cameras != null)
    }

    override fun onDestroy() {
        closeCamera()
        worker.execute {
            classifier?.close()
            classifier = null
        }
        worker.shutdown()
        super.onDestroy()
    }

    private fun load() {
        try {
            val found = loadClassifier(this)
            classifier = found
            runOnUiThread {
                val about = getString(R.string.about, found.contract.file, found.runtime.name)
                find<TextView>(R.id.about).text = about
                find<Button>(R.id.choose).isEnabled = true
                find<Button>(R.id.camera).isEnabled = true
            }
        } catch (error: Exception) {
            Log.e(TAG, "the model cannot be loaded", error)
            say(getString(R.string.not_loaded, error.message.orEmpty()))
        }
    }

    private fun showFile(uri: Uri) {
        worker.execute {
            try {
                val bytes = contentResolver.openInputStream(uri)?.use { it.readBytes() } ?: throw IOException()
                val picture = if (show { it.read(bytes) }) shownPicture(bytes) else null
                runOnUiThread { showPicture(uri, picture) }
            } catch (error: Exception) {
                // such as a SecurityException, of an image that was chosen long ago
                Log.w(TAG, "the image cannot be read", error)
                say(getString(R.string.not_read))
            } catch (_: OutOfMemoryError) {
                say(getString(R.string.no_memory))
            }
        }
    }

    /**
     * Classifies an image and shows what comes out, or says why nothing does. Runs in [worker].
     *
     * Gives whether it was classified.
     */
    private fun show(read: (Classifier) -> Image): Boolean {
        val classifier = classifier ?: return false
        try {
            val begin = System.nanoTime()
            val prepared = classifier.prepare(read(classifier))
            val middle = System.nanoTime()
            val scores = classifier.scores(prepared)
            val end = System.nanoTime()
            val labels = classifier.labels(scores, MOST)
            runOnUiThread {
                say("")
                fill(labels)
                find<TextView>(R.id.times).text =
                    getString(R.string.times, (middle - begin) / 1e6, (end - middle) / 1e6)
            }
            return true
        } catch (error: ImageError) {
            say(error.message.orEmpty().replaceFirstChar { it.uppercase() } + ".")
        } catch (error: Exception) {
            // of the runtime, or of a frame that is of another kind than was asked for
            Log.e(TAG, "the image cannot be classified", error)
            say(getString(R.string.not_classified, error.message ?: error.javaClass.simpleName))
        } catch (_: OutOfMemoryError) {
            say(getString(R.string.no_memory))
        }
        runOnUiThread { fill(emptyList()) }
        return false
    }

    private fun fill(labels: List<Label>) {
        val rows = find<LinearLayout>(R.id.labels)
        while (rows.childCount < labels.size) layoutInflater.inflate(R.layout.label, rows)
        for (i in 0 until rows.childCount) {
            val row = rows.getChildAt(i)
            row.visibility = if (i < labels.size) View.VISIBLE else View.GONE
            if (i < labels.size) fill(row, labels[i])
        }
        if (labels.isEmpty()) find<TextView>(R.id.times).text = ""
        val first = labels.firstOrNull()?.let { getString(R.string.likeliest, wrapped(it.name)) }.orEmpty()
        val likeliest = find<TextView>(R.id.likeliest)
        if (likeliest.text.toString() != first) likeliest.text = first // else it is said for every frame
    }

    private fun fill(
        row: View,
        label: Label,
    ) {
        val name = wrapped(label.name)
        val share = PERCENT.format(label.probability)
        row.find<TextView>(R.id.name).text = name
        row.find<TextView>(R.id.share).text = share
        val bar = row.find<ProgressBar>(R.id.bar)
        bar.progress = if (label.probability.isNaN()) 0 else (label.probability * bar.max).roundToInt()
        row.contentDescription = getString(R.string.label, name, share)
    }

    /** A name that goes from left to right or from right to left, whatever stands beside it. */
    private fun wrapped(name: String): String = BidiFormatter.getInstance().unicodeWrap(name)

    private fun showPicture(
        uri: Uri,
        picture: Bitmap?,
    ) {
        shown = uri
        val view = find<ImageView>(R.id.picture)
        view.setImageBitmap(picture)
        view.visibility = if (picture == null) View.GONE else View.VISIBLE
    }

    private fun askForCamera() {
        say("")
        if (!packageManager.hasSystemFeature(PackageManager.FEATURE_CAMERA_ANY)) {
            say(getString(R.string.no_camera))
        } else if (checkSelfPermission(Manifest.permission.CAMERA) == PackageManager.PERMISSION_GRANTED) {
            openCamera()
        } else {
            ask.launch(Manifest.permission.CAMERA)
        }
    }

    private fun openCamera() {
        val future = ProcessCameraProvider.getInstance(this)
        future.addListener({
            try {
                val provider = future.get()
                bind(provider)
                cameras = provider
                shown = null
                find<View>(R.id.viewfinder).visibility = View.VISIBLE
                find<View>(R.id.picture).visibility = View.GONE
                find<Button>(R.id.camera).setText(R.string.close_camera)
            } catch (error: Exception) {
                Log.e(TAG, "the camera does not work", error)
                say(getString(R.string.camera_broken))
            }
        }, Executor { runOnUiThread(it) })
    }

    private fun bind(provider: ProcessCameraProvider) {
        val preview = Preview.Builder().build()
        preview.setSurfaceProvider(find<PreviewView>(R.id.viewfinder).surfaceProvider)
        val analysis =
            ImageAnalysis
                .Builder()
                .setBackpressureStrategy(ImageAnalysis.STRATEGY_KEEP_ONLY_LATEST)
                .setOutputImageFormat(ImageAnalysis.OUTPUT_IMAGE_FORMAT_RGBA_8888)
                .build()
        analysis.setAnalyzer(worker, ::analyze)
        provider.unbindAll()
        val back = CameraSelector.DEFAULT_BACK_CAMERA
        val camera = if (provider.hasCamera(back)) back else CameraSelector.DEFAULT_FRONT_CAMERA
        provider.bindToLifecycle(this, camera, preview, analysis)
    }

    private fun analyze(frame: ImageProxy) {
        frame.use { show { _ -> it.toImage() } }
    }

    private fun closeCamera() {
        cameras?.unbindAll()
        cameras = null
        find<View>(R.id.viewfinder).visibility = View.GONE
        find<Button>(R.id.camera).setText(R.string.open_camera)
    }

    private fun say(text: String) {
        runOnUiThread {
            val message = find<TextView>(R.id.message)
            message.text = text
            message.visibility = if (text.isEmpty()) View.GONE else View.VISIBLE
        }
    }

    private fun <T : View> find(id: Int): T = window.decorView.find(id)

    private companion object {
        const val TAG = "classifier"
        const val MOST = 5
        const val URI = "uri"
        const val CAMERA = "camera"
        val PERCENT: NumberFormat = NumberFormat.getPercentInstance().apply { minimumFractionDigits = 1 }
    }
}

private fun <T : View> View.find(id: Int): T {
    val found: View = findViewById(id)
    @Suppress("UNCHECKED_CAST")
    return found as T
}
