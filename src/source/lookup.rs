//! Names of clients, staff and the business, from the API.
