//! Passwords: argon2id, off the threads that serve, and never more than two at once (each takes 19 MiB).

use std::sync::Arc;

use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::Semaphore;

use crate::error::Error;
use crate::login_throttle::LoginThrottle;

const AT_ONCE: usize = 2;
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// Longest password that is hashed.
const LONGEST: usize = 1_000;

/// Hashes and verifies. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Passwords {
    slots: Arc<Semaphore>,
    throttle: LoginThrottle,
}

impl Passwords {
    pub(crate) fn new() -> Self {
        Self { slots: Arc::new(Semaphore::new(AT_ONCE)), throttle: LoginThrottle::new() }
    }

    /// The hash of a new password, with its salt and parameters.
    pub(crate) async fn hash(&self, password: String) -> Result<String, Error> {
        self.run(move |argon| Ok(argon.hash_password(password.as_bytes())?.to_string())).await
    }

    /// Whether the password belongs to the hash. Without a hash (there is no such user) it takes the same time, so that the
    /// time does not reveal which users exist. A login name with too many wrong passwords is refused without a check.
    pub(crate) async fn verify(&self, login: &str, password: String, hash: Option<String>) -> Result<bool, Error> {
        self.throttle.admit(login)?;
        // No password is longer, so it is neither hashed nor counted; the short time reveals only that.
        if password.len() > LONGEST {
            return Ok(false);
        }
        let (throttle, login) = (self.throttle.clone(), login.to_owned());
        self.run(move |argon| {
            // Asked again when it is this one's turn: many that came at once must not all slip past the count.
            throttle.admit(&login)?;
            let right = match hash {
                Some(hash) => argon.verify_password(password.as_bytes(), hash.as_str()).is_ok(),
                None => argon.hash_password(password.as_bytes()).map(|_| false)?,
            };
            throttle.note(&login, right);
            Ok(right)
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
