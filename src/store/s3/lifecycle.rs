//! What the bucket does by itself: of its lifecycle rules those that abort uploads.

use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::types::{ExpirationStatus, LifecycleRule};

use super::S3Store;
use super::call::Call;
use crate::store::{AbortRule, Operation, Result};

impl S3Store {
    /// The rules in force that abort uploads; none where the bucket has no rules at all.
    pub(super) async fn rules(&self) -> Result<Vec<AbortRule>> {
        let call = Call {
            operation: Operation::Lifecycle,
            about: self.url.clone(),
            name: String::new(),
            ready: self.client.get().await,
        };
        let request = call
            .ready
            .sdk
            .get_bucket_lifecycle_configuration()
            .bucket(&self.bucket);
        let asked = async {
            match request.send().await {
                // How a bucket without any rule answers.
                Err(error) if error.code() == Some("NoSuchLifecycleConfiguration") => Ok(None),
                answer => answer.map(Some),
            }
        };
        let answer = call.send(self.limits.stall, asked).await?;
        let rules = answer.map(|answer| answer.rules.unwrap_or_default());
        Ok(rules
            .unwrap_or_default()
            .iter()
            .filter_map(abort_rule)
            .collect())
    }
}

/// Rules that select by tags or sizes are none for uploads: those have neither before they are completed.
fn abort_rule(rule: &LifecycleRule) -> Option<AbortRule> {
    let days = rule.abort_incomplete_multipart_upload()?;
    let days = days.days_after_initiation()?;
    if *rule.status() != ExpirationStatus::Enabled {
        return None;
    }
    #[allow(deprecated)] // The place of the prefix in rules that are old.
    let of_old = rule.prefix();
    let prefix = match rule.filter() {
        None => of_old,
        Some(filter)
            if filter.tag().is_some()
                || filter.and().is_some()
                || filter.object_size_greater_than().is_some()
                || filter.object_size_less_than().is_some() =>
        {
            return None;
        }
        Some(filter) => filter.prefix().or(of_old),
    };
    Some(AbortRule {
        prefix: prefix.unwrap_or_default().to_owned(),
        days: u32::try_from(days).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_s3::types::{AbortIncompleteMultipartUpload, LifecycleRuleFilter, Tag};

    fn rule(status: ExpirationStatus, filter: Option<LifecycleRuleFilter>) -> LifecycleRule {
        let abort = AbortIncompleteMultipartUpload::builder()
            .days_after_initiation(7)
            .build();
        LifecycleRule::builder()
            .status(status)
            .set_filter(filter)
            .abort_incomplete_multipart_upload(abort)
            .build()
            .expect("a rule")
    }

    #[test]
    fn only_rules_in_force_that_uploads_can_meet_count() {
        let filter = |prefix: &str| LifecycleRuleFilter::builder().prefix(prefix).build();
        let prefix = |rule: &LifecycleRule| abort_rule(rule).map(|rule| rule.prefix);
        let on = ExpirationStatus::Enabled;
        assert_eq!(prefix(&rule(on.clone(), None)).as_deref(), Some(""));
        let some = rule(on.clone(), Some(filter("prod/")));
        assert_eq!(prefix(&some).as_deref(), Some("prod/"));
        let off = rule(ExpirationStatus::Disabled, None);
        assert_eq!(prefix(&off), None);
        let tag = Tag::builder().key("a").value("b").build().expect("a tag");
        let tagged = LifecycleRuleFilter::builder().tag(tag).build();
        assert_eq!(prefix(&rule(on.clone(), Some(tagged))), None);
        let other = LifecycleRule::builder().status(on).build().expect("a rule");
        assert_eq!(prefix(&other), None);
    }
}
