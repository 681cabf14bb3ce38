//! The one HTTP client: own name resolution with every address checked when dialling, no redirects, no proxies, capped answers.

pub mod policy;

use policy::Policy;

/// An HTTP client under a policy. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Egress {
    policy: Policy,
}

impl Egress {
    /// A client that may only reach what the policy allows.
    pub fn new(policy: Policy) -> Self {
        Self { policy }
    }

    /// The policy it was made with.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }
}
