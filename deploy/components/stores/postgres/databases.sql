-- A database for each service that keeps its rows in PostgreSQL; tables are made by the services.
create database product;
create database "order";
create database stock;
create database payment;
create database notification;
