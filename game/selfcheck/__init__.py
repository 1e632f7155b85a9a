"""The referee audits itself: does anything but the model's behaviour tell which cases were edited?"""
