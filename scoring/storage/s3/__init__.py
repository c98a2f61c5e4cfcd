"""``s3://``: any server that speaks S3's protocol, through boto3."""
