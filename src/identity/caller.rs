//! Is there a credential of the right shape? Whether it is valid, and for what, only the region can say.
//!
//! Pure, keeps nothing. Refusing a shapeless request here spares every region the question.

/// The `Authorization` header is missing or not a bearer token (RFC 6750 §2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CallerError {
    /// No header.
    #[error("header Authorization is missing: send `Authorization: Bearer <API key>`")]
    Missing,
    /// Another scheme, no token, or characters that no token has.
    #[error("header Authorization is not of the form `Bearer <API key>`")]
    Malformed,
}

/// Checks the shape of a credential. The scheme's case does not matter (RFC 9110 §11.1).
pub(super) fn check(header: Option<&[u8]>) -> Result<(), CallerError> {
    let header = header.ok_or(CallerError::Missing)?;
    let (scheme, token) = header.split_at_checked(7).ok_or(CallerError::Malformed)?;
    let well_formed = scheme.eq_ignore_ascii_case(b"bearer ")
        && !token.is_empty()
        && token
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"-._~+/=".contains(b));
    if well_formed {
        Ok(())
    } else {
        Err(CallerError::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes() {
        assert_eq!(check(None), Err(CallerError::Missing));
        for good in ["Bearer nvapi-abc_DEF.1~2+3/4==", "bearer x"] {
            assert_eq!(check(Some(good.as_bytes())), Ok(()), "{good}");
        }
        for bad in [
            "",
            "Bearer",
            "Bearer ",
            "Basic dXNlcg==",
            "Bearer a b",
            "Bearer \u{e9}",
        ] {
            assert_eq!(
                check(Some(bad.as_bytes())),
                Err(CallerError::Malformed),
                "{bad}"
            );
        }
    }
}
