//! The command `user`: the first administrator has nobody else to be added by.

use std::io::BufRead;

use anyhow::{Context, bail};
use headcount_api::access::Role;
use headcount_api::auth::accounts::{self, NewAccount};
use headcount_api::auth::passwords;
use headcount_api::tenant::Tenant;

use super::stores;
use crate::cli::{AccountArgs, RoleArg, UserCommand};
use crate::config::Loaded;

pub async fn run(command: UserCommand, loaded: &Loaded) -> anyhow::Result<()> {
    let default_tenant = &loaded.config.api.default_tenant;
    match command {
        UserCommand::Add { username, role, account } => {
            let tenant = tenant(account.tenant.as_deref().unwrap_or(default_tenant))?;
            let (password, shown) = password(&account, &username)?;
            let pool = stores::connect(&loaded.config).await?;
            let new =
                NewAccount { username: &username, role: to_role(role), ..NewAccount::default() };
            accounts::add_by_command(&pool, &tenant, &new, &password).await?;
            say!(
                "user      {username}\ntenant    {}\nrole      {}",
                tenant.as_str(),
                new.role.name()
            );
            say_password(shown, &password);
        }
        UserCommand::Password { username, account } => {
            let tenant = tenant(account.tenant.as_deref().unwrap_or(default_tenant))?;
            let (password, shown) = password(&account, &username)?;
            let pool = stores::connect(&loaded.config).await?;
            accounts::set_password_by_command(&pool, &tenant, &username, &password).await?;
            say!("user      {username}\ntenant    {}", tenant.as_str());
            say_password(shown, &password);
        }
        UserCommand::List { tenant: named } => {
            let tenant = tenant(named.as_deref().unwrap_or(default_tenant))?;
            let pool = stores::connect(&loaded.config).await?;
            for account in accounts::list_by_command(&pool, &tenant).await? {
                let state = if account.is_active { "" } else { "  (inactive)" };
                say!("{:<32} {:<9}{state}", account.username, account.role);
            }
        }
    }
    Ok(())
}

fn tenant(id: &str) -> anyhow::Result<Tenant> {
    let tenant = Tenant::new(id);
    tenant.with_context(|| format!("`{id}` is no tenant: 1 to 64 letters, digits, `.`, `_` or `-`"))
}

/// The password, and whether nobody knows it yet.
fn password(account: &AccountArgs, username: &str) -> anyhow::Result<(String, bool)> {
    if !account.password_stdin {
        return Ok((passwords::generate(), true));
    }
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).context("standard input")?;
    let password = line.trim_end_matches(['\r', '\n']).to_owned();
    match passwords::problem(&password, username) {
        Some(problem) => bail!("the password {problem}"),
        None => Ok((password, false)),
    }
}

fn say_password(shown: bool, password: &str) {
    if shown {
        say!("password  {password}");
    }
}

fn to_role(role: RoleArg) -> Role {
    match role {
        RoleArg::Viewer => Role::Viewer,
        RoleArg::Analyst => Role::Analyst,
        RoleArg::Operator => Role::Operator,
        RoleArg::Admin => Role::Admin,
    }
}
