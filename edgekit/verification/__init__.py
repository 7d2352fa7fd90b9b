"""Does the exported file compute what the network computes?"""
