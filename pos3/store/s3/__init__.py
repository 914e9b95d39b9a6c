"""S3: requests signed and moved by libcurl, with botocore for sessions, credentials and AWS's endpoints.

:mod:`pos3.store.s3.store` puts the parts together: listings, bodies both ways, deletes, unfinished uploads. What any
store must do is said in :mod:`pos3.store.base`. Nobody outside of :mod:`pos3.store` imports from here, since importing
the SDKs takes time.
"""
