create database mlflow_auth;
