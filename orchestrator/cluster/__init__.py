"""A sweep on a Ray that runs elsewhere: its code and spec as an archive, its driver as a job."""
