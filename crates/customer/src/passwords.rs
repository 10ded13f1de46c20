//! Passwords: argon2id, off the threads that serve, and never more than two at once (each takes 19 MiB).

use std::sync::Arc;

use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::Semaphore;

use crate::error::Error;

const AT_ONCE: usize = 2;
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// Hashes and verifies. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Passwords {
    slots: Arc<Semaphore>,
}

impl Passwords {
    pub(crate) fn new() -> Self {
        Self { slots: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// The hash of a new password, with its salt and parameters.
    pub(crate) async fn hash(&self, password: String) -> Result<String, Error> {
        self.run(move |argon| Ok(argon.hash_password(password.as_bytes())?.to_string())).await
    }

    /// Whether the password is the one of the hash. Without a hash (there is no such user) it takes the same
    /// time to say no, so that the time does not tell who exists.
    pub(crate) async fn verify(&self, password: String, hash: Option<String>) -> Result<bool, Error> {
        self.run(move |argon| match hash {
            Some(hash) => Ok(argon.verify_password(password.as_bytes(), hash.as_str()).is_ok()),
            None => argon.hash_password(password.as_bytes()).map(|_| false).map_err(Error::from),
        })
        .await
    }

    async fn run<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(Argon2<'static>) -> Result<T, Error> + Send + 'static,
    {
        let slot =
            Arc::clone(&self.slots).acquire_owned().await.map_err(|_| Error::Defect("no slot for a password"))?;
        tokio::task::spawn_blocking(move || {
            let _slot = slot;
            let params = Params::new(MEMORY_KIB, PASSES, LANES, None)
                .map_err(|_| Error::Defect("argon2 refuses its parameters"))?;
            work(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
        })
        .await
        .map_err(|_| Error::Defect("hashing a password was cut off"))?
    }
}
