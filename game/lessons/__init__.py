"""The course: guided cases, with questions whose answers are worked out on the models themselves."""
