"""What XGBoost and LightGBM call the hyperparameters of trees, and why some of theirs have no counterpart here.

XGBoost: https://xgboost.readthedocs.io/en/stable/parameter.html; LightGBM: docs/Parameters.rst; and the names of their
scikit-learn classes.  Where the two mean different things by one name (``alpha``), XGBoost's meaning holds.
"""

from __future__ import annotations

from typing import Any

#: our name -> theirs
ALIASES: dict[str, tuple[str, ...]] = {
    "objective": ("objective_type", "app", "application"),
    "rounds": ("n_estimators", "num_boost_round", "num_iterations", "num_iteration", "num_round", "num_rounds",
               "nrounds", "num_trees", "num_tree", "n_iter", "max_iter"),
    "growth": ("grow_policy",),
    "max_leaves": ("num_leaves", "num_leaf", "max_leaf", "max_leaf_nodes"),
    "learning_rate": ("eta", "shrinkage_rate"),
    "max_bin": ("max_bins",),
    "l2": ("lambda", "reg_lambda", "lambda_l2", "l2_regularization"),
    "l1": ("alpha", "reg_alpha", "lambda_l1", "l1_regularization"),
    "min_split_gain": ("gamma", "min_split_loss", "min_gain_to_split"),
    "min_child_weight": ("min_sum_hessian_in_leaf", "min_sum_hessian_per_leaf", "min_sum_hessian", "min_hessian"),
    "min_data_in_leaf": ("min_child_samples", "min_data_per_leaf", "min_data", "min_samples_leaf"),
    "max_delta_step": ("max_tree_output", "max_leaf_output"),
    "subsample": ("bagging_fraction", "sub_row", "bagging"),
    "colsample_bytree": ("feature_fraction", "sub_feature"),
    "colsample_bynode": ("feature_fraction_bynode", "sub_feature_bynode"),
    "huber_delta": ("huber_slope",),
    "monotone": ("monotone_constraints", "monotone_constraint", "mc", "monotonic_cst"),
    "lambdarank_truncation": ("lambdarank_truncation_level",),
    "metric": ("eval_metric", "metrics", "metric_types"),
    "init_model": ("xgb_model", "input_model", "model_input", "model_in"),
    "early_stopping": ("early_stopping_rounds", "early_stopping_round", "n_iter_no_change"),
    "seed": ("random_state", "random_seed"),
}  # fmt: skip
#: our name -> what their values mean
VALUES: dict[str, dict[Any, Any]] = {
    "objective": {
        **dict.fromkeys(("reg:squarederror", "reg:linear", "regression", "regression_l2", "l2", "mse", "rmse",
                         "mean_squared_error", "root_mean_squared_error"), "squared"),
        **dict.fromkeys(("reg:absoluteerror", "regression_l1", "l1", "mae", "mean_absolute_error"), "absolute"),
        **dict.fromkeys(("binary:logistic", "binary"), "logistic"),
        **dict.fromkeys(("multi:softprob", "multi:softmax", "multiclass"), "softmax"),
        **dict.fromkeys(("rank:ndcg", "rank:lambdarank"), "lambdarank"),
        "count:poisson": "poisson",
        "reg:gamma": "gamma",
        "reg:tweedie": "tweedie",
        "reg:quantileerror": "quantile",
    },
    "metric": {
        **dict.fromkeys(("logloss", "mlogloss", "binary_logloss", "multi_logloss", "cross_entropy", "ndcg"),
                        "loss"),
        **dict.fromkeys(("l1", "mean_absolute_error"), "mae"),
        **dict.fromkeys(("l2_root", "root_mean_squared_error"), "rmse"),
        **dict.fromkeys(("merror", "binary_error", "multi_error"), "error"),
    },
    "growth": {"lossguide": "leafwise", "depth-wise": "depthwise", "leaf-wise": "leafwise"},
    "max_depth": {-1: 0},
    # XGBoost counts no bin for what is missing: 255 and that one are its 256
    "max_bin": {256: 255},
}  # fmt: skip
#: how XGBoost's objectives begin, which an import path of one's own cannot
FAMILIES = ("reg", "binary", "multi", "count", "rank", "survival")
#: the same for a random forest, where scikit-learn's names come first
FOREST_ALIASES: dict[str, tuple[str, ...]] = {
    **ALIASES,
    "rounds": (),
    "trees": ALIASES["rounds"],
    "objective": (*ALIASES["objective"], "criterion"),
    "colsample_bynode": (*ALIASES["colsample_bynode"], "max_features"),
}
FOREST_VALUES: dict[str, dict[Any, Any]] = {
    **VALUES,
    "objective": {**VALUES["objective"], "squared_error": "squared", **dict.fromkeys(("binary", "multiclass"), "gini")},
}
_SEEDS = ("bagging_seed", "feature_fraction_seed", "data_random_seed", "extra_seed", "drop_seed")
_DROPPING = ("rate_drop", "skip_drop", "drop_rate", "max_drop", "one_drop", "sample_type", "normalize_type")
_DEVICES = ("device", "device_type", "gpu_id", "gpu_platform_id", "gpu_device_id", "predictor")
#: their parameters without a counterpart -> what to do
ABSENT: dict[str, str] = {
    **dict.fromkeys(("tree_method", "tree_learner"), "trees always grow from histograms: leave it out"),
    **dict.fromkeys(("booster", "boosting", "boosting_type", "boost"), "there is one kind, gbtree: leave it out"),
    **dict.fromkeys(("nthread", "n_jobs", "num_threads", "num_thread", "n_thread"), "use --workers"),
    **dict.fromkeys(_DEVICES, "there are CPU kernels only: leave it out"),
    **dict.fromkeys(("verbosity", "silent", "verbose_eval"), "say -q or -v"),
    **dict.fromkeys(("num_class", "num_classes"), "classes are counted in the target: leave it out"),
    **dict.fromkeys(("bagging_freq", "subsample_freq"), "every tree draws its own rows: leave it out"),
    **dict.fromkeys(("is_unbalance", "unbalance", "unbalanced_sets"), "use --scale-pos-weight"),
    **dict.fromkeys(("categorical_feature", "cat_feature", "categorical_column", "enable_categorical"),
                    "use --categorical; columns of texts are categories anyway"),
    **dict.fromkeys(("deterministic", "force_row_wise", "force_col_wise"), "models always are: leave it out"),
    **dict.fromkeys(_SEEDS, "one seed draws all: use --seed"),
    **dict.fromkeys(_DROPPING, "trees are not dropped (dart)"),
    **dict.fromkeys(("num_parallel_tree", "interaction_constraints", "linear_tree", "sampling_method", "extra_trees",
                     "path_smooth", "multi_strategy", "data_sample_strategy", "top_rate", "other_rate",
                     "updater", "refresh_leaf", "process_type", "max_cached_hist_node", "min_data_in_bin",
                     "bin_construct_sample_cnt"), "there is nothing like it: leave it out"),
}  # fmt: skip
