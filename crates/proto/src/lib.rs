//! Code generated from `/proto`, the only copy of the gRPC contracts. Nothing here is written by hand.

/// Stock: check, reserve, release, commit.
#[allow(missing_docs, unreachable_pub, reason = "generated")]
#[allow(clippy::all, clippy::too_many_lines, clippy::allow_attributes_without_reason, reason = "generated")]
pub mod stock {
    /// The only version so far.
    pub mod v1 {
        tonic::include_proto!("souk.stock.v1");
    }
}

/// Payments: authorise, capture, void, refund, read.
#[allow(missing_docs, unreachable_pub, reason = "generated")]
#[allow(clippy::all, clippy::too_many_lines, clippy::allow_attributes_without_reason, reason = "generated")]
pub mod payment {
    /// The only version so far.
    pub mod v1 {
        tonic::include_proto!("souk.payment.v1");
    }
}

/// The payment service of an older fleet, which had no package.
#[allow(missing_docs, unreachable_pub, reason = "generated")]
#[allow(clippy::all, clippy::too_many_lines, clippy::allow_attributes_without_reason, reason = "generated")]
pub mod legacy {
    tonic::include_proto!("_");
}

/// All files of `/proto`, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
