"""S3: libcurl signs and sends requests; botocore gives sessions, credentials and the endpoints of AWS.

:mod:`pos3.store.s3.store` combines the parts: listings, downloads, uploads, deletes, unfinished uploads.
:mod:`pos3.store.base` says what any store must do. Only :mod:`pos3.store` imports this package, because importing the
SDKs takes time.
"""
